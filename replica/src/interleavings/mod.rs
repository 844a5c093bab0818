//! The agent's concurrency under thousands of schedules: entering, closing, draining, opening,
//! barriers beside barriers. The code is the product's; its locks and atomics are shuttle's, which
//! runs one thread at a time and switches wherever one is touched. What tokio and arc-swap do
//! inside is one step each here.
//!
//! In every schedule: once a drain has returned, no guard of what it closed lives, and none can be
//! had; nothing that was closed opens again; every drain returns (a schedule in which nobody can
//! go on fails). Each test says so of the rules as they are, then undoes one and must be caught.

#[cfg(feature = "shuttle")]
mod scenes;
// In every build of the tests, so that who changes the trait sees it.
#[cfg_attr(not(feature = "shuttle"), allow(dead_code))]
mod store;

#[cfg(feature = "shuttle")]
mod proofs {
    //! Each scene, with all rules and with one undone.

    use super::scenes::{admission, barriers, drains, end_of_a_lease, repeated_opening};
    use crate::rule::{Rule, undo};
    use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
    use shuttle::{Config, Runner};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::LazyLock;
    use tokio::runtime::{Builder, Runtime};

    /// Schedules of each kind, for each scene; a control stops at the first that shows it.
    const SCHEDULES: usize = 800;
    /// Switches that the second kind of schedule puts where they hurt.
    const SWITCHES: usize = 4;

    type Scene = fn();

    /// So that timers can be made. Nobody drives it, they never fire: no drain owes its end to one.
    /// Not dropped: a schedule that failed leaves timers behind, whose tasks are gone.
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
        Builder::new_current_thread().enable_time().build().expect("threads and memory")
    });

    /// Runs a scene under many schedules: the same ones each time.
    fn run(scene: Scene) {
        let _entered = RUNTIME.enter();
        run_with(RandomScheduler::new_from_seed(1, SCHEDULES), scene);
        run_with(PctScheduler::new_from_seed(1, SWITCHES, SCHEDULES), scene);
    }

    fn run_with(scheduler: impl Scheduler + 'static, scene: Scene) {
        let mut config = Config::new();
        config.stack_size = 1 << 18;
        config.silence_warnings = true;
        Runner::new(scheduler, config).run(scene);
    }

    /// The scene holds with all rules, and shows that one is undone, by what it says then.
    fn proves(scene: Scene, rules: &[(Rule, &str)]) {
        undo(None);
        run(scene);
        for (rule, shown) in rules {
            undo(Some(*rule));
            let outcome = catch_unwind(AssertUnwindSafe(|| run(scene)));
            undo(None);
            let panic = outcome.expect_err("a rule was undone, and no schedule showed it");
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or_default();
            assert!(text.contains(shown), "{rule:?} was undone, and this came of it: {text}");
        }
    }

    #[test]
    fn nobody_is_inside_once_a_drain_has_returned_and_every_drain_returns() {
        proves(
            drains,
            &[(Rule::EntersInOneStep, "INV-2"), (Rule::ListensBeforeTheLook, "deadlock")],
        );
    }

    #[test]
    fn a_session_that_is_known_is_not_opened_again() {
        proves(repeated_opening, &[(Rule::KnownStays, "INV-3")]);
    }

    #[test]
    fn a_guard_that_was_had_beside_the_end_of_the_lease_is_fired() {
        proves(end_of_a_lease, &[(Rule::EpochBeforeTheLease, "INV-13")]);
    }

    #[test]
    fn h7_two_barriers_of_one_tablet_do_not_overtake_one_another() {
        proves(barriers, &[(Rule::LockedOverTheSync, "INV-"), (Rule::EntersInOneStep, "INV-2")]);
    }

    #[test]
    fn an_admission_drains_all_beside_work_and_a_repeated_barrier() {
        proves(
            admission,
            &[(Rule::EntersInOneStep, "INV-2"), (Rule::ListensBeforeTheLook, "deadlock")],
        );
    }
}

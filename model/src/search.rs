//! Searches a model breadth first, and says what was found: in numbers, and a counterexample as
//! the steps that lead to it, in the protocol's words.

use stateright::{Checker, Expectation, HasDiscoveries, Model, Property};
use std::collections::{BTreeSet, HashSet};
use std::fmt::{self, Debug};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A model that can be searched here: its actions can be told.
pub trait Told:
    Model<Action: Searchable, State: Searchable> + Clone + Send + Sync + 'static
{
    /// An action in the protocol's words, as seen in the state before it.
    fn tell(&self, before: &Self::State, action: &Self::Action) -> String;
}

/// What states and actions must be to be searched.
pub trait Searchable: Clone + PartialEq + Hash + Debug + Send + Sync + 'static {}
impl<T: Clone + PartialEq + Hash + Debug + Send + Sync + 'static> Searchable for T {}

/// What a search of the whole space found.
#[derive(Debug, Clone)]
pub struct Searched {
    /// Different states.
    pub states: usize,
    /// Steps taken, those to known states included.
    pub steps: usize,
    /// The longest of the shortest ways to a state.
    pub depth: usize,
    /// How long it took.
    pub took: Duration,
    /// `always` properties that do not hold, each with the steps that show it.
    pub broken: Vec<(&'static str, Vec<String>)>,
    /// `sometimes` properties that no state shows: the search would prove nothing about them.
    pub empty: Vec<&'static str>,
}

/// A rule was taken out, and this is what came of it.
#[derive(Debug, Clone)]
pub struct Caught {
    /// The steps that show it: none shorter does.
    pub steps: Vec<String>,
    /// States seen until then.
    pub states: usize,
    /// How long it took.
    pub took: Duration,
}

impl fmt::Display for Searched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (states, steps, depth) = (self.states, self.steps, self.depth);
        write!(f, "{states} states, {steps} steps, depth {depth}, {:.1?}", self.took)?;
        for (property, steps) in &self.broken {
            write!(f, "\n  BROKEN: {property}")?;
            write_steps(f, steps)?;
        }
        self.empty.iter().try_for_each(|property| write!(f, "\n  NEVER SEEN: {property}"))
    }
}

impl fmt::Display for Caught {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (steps, states) = (self.steps.len(), self.states);
        write!(f, "{steps} steps, {states} states, {:.1?}", self.took)?;
        write_steps(f, &self.steps)
    }
}

fn write_steps(f: &mut fmt::Formatter<'_>, steps: &[String]) -> fmt::Result {
    let mut numbered = (1..).zip(steps);
    numbered.try_for_each(|(number, step)| write!(f, "\n  {number:>3}. {step}"))
}

/// Searches everything, on two threads.
pub fn search<M>(model: M) -> Searched
where
    M: Told,
{
    let begun = Instant::now();
    let checker = model.clone().checker().threads(2).spawn_bfs().join();
    let took = begun.elapsed();
    let mut broken = Vec::new();
    let mut empty = Vec::new();
    for property in model.properties() {
        let found = checker.discovery(property.name);
        match (property.expectation, found) {
            (Expectation::Always, Some(_)) => {
                let caught = search_for(model.clone(), property.name);
                broken.push((property.name, caught.map_or_else(Vec::new, |caught| caught.steps)));
            }
            (Expectation::Sometimes, None) => empty.push(property.name),
            _ => {}
        }
    }
    Searched {
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        took,
        broken,
        empty,
    }
}

/// Searches until one property is seen broken: on one thread and up to the first state that shows
/// it, so that no shorter way was missed. `None`: the property holds, or there is none such.
pub fn search_for<M>(model: M, property: &'static str) -> Option<Caught>
where
    M: Told,
{
    let begun = Instant::now();
    let until = HasDiscoveries::AnyOf(BTreeSet::from([property]));
    let first = First { model: model.clone(), property, is_found: AtomicBool::new(false) };
    let checker = first.checker().threads(1).finish_when(until).spawn_bfs().join();
    let took = begun.elapsed();
    let path = checker.discovery(property)?;
    Some(Caught {
        steps: told(&model, path.into_vec()),
        states: checker.unique_state_count(),
        took,
    })
}

/// A model with one property, which is broken in one state only: the first one that is looked at.
/// The checker goes on for a while after a find, and would keep the last.
struct First<M> {
    model: M,
    property: &'static str,
    is_found: AtomicBool,
}

impl<M: Told> First<M> {
    fn is_first(&self, state: &M::State) -> bool {
        let mut named = self.model.properties().into_iter().filter(|p| p.name == self.property);
        let is_broken = named.any(|property| !(property.condition)(&self.model, state));
        is_broken && !self.is_found.swap(true, Ordering::Relaxed)
    }
}

impl<M: Told> Model for First<M> {
    type State = M::State;
    type Action = M::Action;

    fn init_states(&self) -> Vec<M::State> {
        self.model.init_states()
    }

    fn actions(&self, state: &M::State, actions: &mut Vec<M::Action>) {
        self.model.actions(state, actions);
    }

    fn next_state(&self, state: &M::State, action: M::Action) -> Option<M::State> {
        self.model.next_state(state, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always(self.property, |first, state| !first.is_first(state))]
    }
}

fn told<M: Told>(model: &M, path: Vec<(M::State, Option<M::Action>)>) -> Vec<String> {
    let step = |(state, action): &(M::State, Option<M::Action>)| {
        action.as_ref().map(|action| model.tell(state, action))
    };
    path.iter().filter_map(step).collect()
}

/// States from which the fair schedule is known to end. The schedule has one next step for each
/// state, so each state is walked over once however many begin before it.
#[derive(Debug)]
pub struct KnownToEnd(Vec<Mutex<HashSet<u64>>>);

impl Default for KnownToEnd {
    fn default() -> KnownToEnd {
        KnownToEnd((0..64).map(|_| Mutex::default()).collect())
    }
}

impl KnownToEnd {
    /// Whether the schedule leads from `state` to an end within `bound` steps. `step` gives the
    /// next state, `None` where the schedule has nothing left to do.
    pub fn ends<S: Clone + Hash>(
        &self,
        state: &S,
        bound: usize,
        is_end: impl Fn(&S) -> bool,
        step: impl Fn(&S) -> Option<S>,
    ) -> bool {
        let mut at = state.clone();
        let mut walked = Vec::new();
        for _ in 0..bound {
            let print = fingerprint(&at);
            if is_end(&at) || self.shard(print).contains(&print) {
                for print in walked {
                    self.shard(print).insert(print);
                }
                return true;
            }
            walked.push(print);
            match step(&at) {
                Some(next) => at = next,
                None => return false,
            }
        }
        false
    }

    fn shard(&self, print: u64) -> std::sync::MutexGuard<'_, HashSet<u64>> {
        let shard = &self.0[(print >> 58) as usize];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fingerprint<S: Hash>(state: &S) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

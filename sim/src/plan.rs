//! What a run consists of, and which faults it has. Each class of fault is off in some runs, so
//! that no class hides what another one would show.

use crate::random::Draws;
use crate::time::{MILLI, SECOND, Time};

/// A class of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Messages are lost; with them the connection that they were on.
    Loss,
    /// Messages arrive twice.
    Repeat,
    /// Orders and reports of one attachment overtake each other.
    Reorder,
    /// Some messages take very long.
    Delay,
    /// Links are cut, in one or both directions.
    Cut,
    /// The leader is cut off from everybody, or from the other coordinators.
    CutLeader,
    /// Agents are killed and come back.
    CrashAgent,
    /// Machines of agents start anew: the process can't show that its predecessor is gone.
    Reboot,
    /// Coordinators are killed and come back.
    CrashCoordinator,
    /// Agents stand still for longer than a lease.
    PauseAgent,
    /// Coordinators stand still.
    PauseCoordinator,
    /// Leadership changes without need.
    Elect,
    /// Proposers are told that nobody knows what became of a proposal.
    Unknown,
    /// Chunks are held between their receipt and their guard.
    HoldChunk,
    /// Writes are slow inside of their guards.
    SlowWrite,
    /// Copies are damaged.
    LoseCopy,
    /// Clocks drift by more than the bound.
    BreakDrift,
    /// Routers go by old pictures of the topology.
    StaleRouter,
    /// Disks take long to sync.
    SlowDisk,
    /// Stores leave a row of a chunk out, and say which rows they have taken.
    LeaveRowOut,
    /// Agents stand still between two steps of theirs, while others of their tasks go on.
    Preempt,
    /// Old copies of data directories are put back; second processes start on copies.
    OldDirectory,
}

impl Fault {
    /// All classes, in the order in which the shrinker takes them away.
    pub const ALL: [Fault; 22] = [
        Fault::Loss,
        Fault::Repeat,
        Fault::Reorder,
        Fault::Delay,
        Fault::Cut,
        Fault::CutLeader,
        Fault::CrashAgent,
        Fault::Reboot,
        Fault::CrashCoordinator,
        Fault::PauseAgent,
        Fault::PauseCoordinator,
        Fault::Elect,
        Fault::Unknown,
        Fault::HoldChunk,
        Fault::SlowWrite,
        Fault::LoseCopy,
        Fault::BreakDrift,
        Fault::StaleRouter,
        Fault::SlowDisk,
        Fault::LeaveRowOut,
        Fault::Preempt,
        Fault::OldDirectory,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Fault::Loss => "loss",
            Fault::Repeat => "repeat",
            Fault::Reorder => "reorder",
            Fault::Delay => "delay",
            Fault::Cut => "cut",
            Fault::CutLeader => "cut-leader",
            Fault::CrashAgent => "crash-agent",
            Fault::Reboot => "reboot",
            Fault::CrashCoordinator => "crash-coordinator",
            Fault::PauseAgent => "pause-agent",
            Fault::PauseCoordinator => "pause-coordinator",
            Fault::Elect => "elect",
            Fault::Unknown => "unknown",
            Fault::HoldChunk => "hold-chunk",
            Fault::SlowWrite => "slow-write",
            Fault::LoseCopy => "lose-copy",
            Fault::BreakDrift => "break-drift",
            Fault::StaleRouter => "stale-router",
            Fault::SlowDisk => "slow-disk",
            Fault::LeaveRowOut => "leave-row-out",
            Fault::Preempt => "preempt",
            Fault::OldDirectory => "old-directory",
        }
    }

    /// The class of this name.
    pub fn from_name(name: &str) -> Option<Fault> {
        Fault::ALL.into_iter().find(|fault| fault.name() == name)
    }

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Classes of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults(u32);

impl Faults {
    /// Every class.
    pub const ALL: Faults = Faults((1 << Fault::ALL.len()) - 1);

    /// Whether a class is among them.
    pub const fn has(self, fault: Fault) -> bool {
        self.0 & fault.bit() != 0
    }

    /// These and another one.
    pub const fn with(self, fault: Fault) -> Faults {
        Faults(self.0 | fault.bit())
    }

    /// These but one.
    pub const fn without(self, fault: Fault) -> Faults {
        Faults(self.0 & !fault.bit())
    }

    /// The classes.
    pub fn iter(self) -> impl Iterator<Item = Fault> {
        Fault::ALL.into_iter().filter(move |fault| self.has(*fault))
    }
}

/// What can be chosen of a run beside its seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Classes of faults that the run may have; which of them it has follows from the seed.
    pub allowed: Faults,
    /// Classes that it has in any case.
    pub forced: Faults,
    /// Whether repairs and purges are asked for more than other things; else by seed.
    pub is_purging: bool,
    /// A part of the time with faults, in thousandths.
    pub span_per_mille: u64,
    /// The time with faults, in seconds of virtual time; 0 leaves it to the seed.
    pub seconds: u64,
    /// Whether the trace is kept.
    pub is_traced: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            allowed: Faults::ALL,
            forced: Faults::default(),
            is_purging: false,
            span_per_mille: 1_000,
            seconds: 0,
            is_traced: false,
        }
    }
}

/// A number, decimal or `0x…`.
///
/// # Errors
/// In words, if it is none.
pub fn parse_number(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|error| format!("{text}: {error}"))
}

impl Options {
    /// Takes a flag of the command line, or of a line of `sim/regressions`, with its value.
    ///
    /// # Errors
    /// In words, if there is no such flag or the value is none of its.
    pub fn set(&mut self, flag: &str, value: &str) -> Result<(), String> {
        let faults = || value.split(',').map(|name| Fault::from_name(name).ok_or(name));
        let unknown = |name| format!("no fault: {name}");
        match flag {
            "--span" => self.span_per_mille = parse_number(value)?.min(1_000),
            "--focus" if value == "purges" => self.is_purging = true,
            "--minutes" => self.seconds = parse_number(value)?.saturating_mul(60),
            "--without" => {
                for fault in faults() {
                    self.allowed = self.allowed.without(fault.map_err(unknown)?);
                }
            }
            "--with" => {
                for fault in faults() {
                    self.forced = self.forced.with(fault.map_err(unknown)?);
                }
            }
            other => return Err(format!("not known: {other}")),
        }
        Ok(())
    }

    /// The flags that choose these.
    pub fn flags(&self) -> String {
        let names = |faults: Vec<Fault>| {
            let names: Vec<&str> = faults.into_iter().map(Fault::name).collect();
            names.join(",")
        };
        let mut flags = String::new();
        let left_out: Vec<Fault> =
            Fault::ALL.into_iter().filter(|f| !self.allowed.has(*f)).collect();
        if !left_out.is_empty() {
            flags += &format!(" --without {}", names(left_out));
        }
        if self.forced != Faults::default() {
            flags += &format!(" --with {}", names(self.forced.iter().collect()));
        }
        if self.is_purging {
            flags += " --focus purges";
        }
        if self.span_per_mille != 1_000 {
            flags += &format!(" --span {}", self.span_per_mille);
        }
        if self.seconds > 0 {
            flags += &format!(" --minutes {}", self.seconds / 60);
        }
        flags
    }
}

/// What the operator asks for more than for other things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Focus {
    /// Nothing.
    Even,
    /// Repairs and purges.
    Purges,
    /// More and fewer replicas.
    Sizes,
}

/// The shape of a run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) coordinators: usize,
    pub(crate) agents: usize,
    pub(crate) tablets: u64,
    pub(crate) replication: u64,
    pub(crate) routers: usize,
    pub(crate) keys_per_tablet: u64,
    pub(crate) has_second_table: bool,
    /// One agent never comes back after the faults, and one hears nothing from coordinators.
    pub(crate) has_left_out: bool,
    /// The operator pauses, drains and switches balancing off; the core's balancer moves tablets.
    pub(crate) has_switches: bool,
    pub(crate) focus: Focus,
    /// The longest time between two faults.
    pub(crate) pause: Time,
    pub(crate) faults: Faults,
    /// How long there are faults.
    pub(crate) span: Time,
}

impl Plan {
    pub(crate) fn draw(shape: &mut Draws, options: &Options) -> Plan {
        let coordinators = if shape.chance(600) { 3 } else { 5 };
        let agents = shape.between(4, 9);
        let tablets = if shape.chance(700) { shape.between(4, 8) } else { shape.between(9, 32) };
        let replication = match shape.below(10) {
            0 => 1,
            1 | 2 => 2,
            3..=7 => 3,
            8 => 4,
            _ => 5,
        };
        let mut faults = Faults::default();
        // A quarter of the runs has few faults: moving data without any has lost writes elsewhere.
        let likely = if shape.chance(250) { 150 } else { 550 };
        for fault in Fault::ALL {
            let is_on = shape.chance(if fault == Fault::BreakDrift { 100 } else { likely });
            if (is_on && options.allowed.has(fault)) || options.forced.has(fault) {
                faults = Faults(faults.0 | fault.bit());
            }
        }
        let drawn = shape.between(15, 40);
        let seconds = if options.seconds > 0 { options.seconds } else { drawn };
        Plan {
            coordinators,
            agents: agents as usize,
            tablets,
            replication: replication.min(agents),
            routers: shape.between(2, 4) as usize,
            keys_per_tablet: if shape.chance(500) {
                shape.between(1, 2)
            } else {
                shape.between(3, 9)
            },
            has_second_table: shape.chance(400),
            has_left_out: agents > 5 && shape.chance(300) && options.allowed != Faults::default(),
            has_switches: shape.chance(400),
            focus: match shape.below(10) {
                _ if options.is_purging => Focus::Purges,
                0..=2 => Focus::Purges,
                3..=5 => Focus::Sizes,
                _ => Focus::Even,
            },
            pause: if shape.chance(350) { 600 * MILLI } else { 2_500 * MILLI },
            faults,
            span: seconds * SECOND / 1_000 * options.span_per_mille,
        }
    }
}

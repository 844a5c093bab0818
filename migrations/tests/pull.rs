//! Both ends of a pull, message by message: E1, E3, D6; and D1 with its control, which says
//! `Received` before the outcome is durable.

use palisade_migrations::evidence::FailureReason;
use palisade_migrations::lease::Instant;
use palisade_migrations::pull::{
    Bounds, Receiver, ReceiverEvent, ReceiverSays, ReceiverState, ReceiverStep, Source,
    SourceEvent, SourceSays, SourceState, SourceStep, Totals,
};
use palisade_migrations::row::RowSum;
use std::time::Duration;

const STALL_MS: u64 = 800;
const BOUNDS: Bounds = Bounds { stall: Duration::from_millis(STALL_MS) };
const TOTALS: Totals = Totals { rows: 2, bytes: 80, sum: RowSum(7) };

const ACCEPTED: ReceiverEvent = ReceiverEvent::Heard(SourceSays::Accepted { is_resumed: false });
const RESUMED: ReceiverEvent = ReceiverEvent::Heard(SourceSays::Accepted { is_resumed: true });
const COMPLETE: ReceiverEvent = ReceiverEvent::Heard(SourceSays::Complete(TOTALS));
const ALIVE: ReceiverEvent = ReceiverEvent::Heard(SourceSays::KeepAlive { is_paused: false });
const PAUSED: ReceiverEvent = ReceiverEvent::Heard(SourceSays::KeepAlive { is_paused: true });
const REFUSED: ReceiverEvent = ReceiverEvent::Refused(FailureReason::SessionClosing);
const DISK: ReceiverEvent = ReceiverEvent::Failed(FailureReason::DiskFull);

fn chunk(number: u64) -> ReceiverEvent {
    ReceiverEvent::Heard(SourceSays::Chunk { number })
}

fn at(ms: u64) -> Instant {
    Instant(ms * 1_000_000)
}

/// A receiver to which this has happened, all at the begin of time.
fn receiver(events: &[ReceiverEvent]) -> Receiver {
    let mut receiver = Receiver::new(BOUNDS, false, at(0));
    for event in events {
        receiver.on(*event, at(0));
    }
    receiver
}

fn source(events: &[SourceEvent]) -> Source {
    let mut source = Source::new(BOUNDS, at(0));
    for event in events {
        source.on(*event, at(0));
    }
    source
}

#[test]
fn e3_each_event_in_each_state_of_a_receiver() {
    use FailureReason::{DiskFull, PeerClosed, SessionClosing, StreamProtocol};
    use ReceiverStep::{Fail, Record, SendReceived, Start, Store, Wait};
    let (ended, lost) = (ReceiverEvent::Ended, ReceiverEvent::Lost);
    let recorded = ReceiverEvent::Recorded;
    let all = [
        ACCEPTED,
        RESUMED,
        chunk(1),
        chunk(2),
        chunk(3),
        COMPLETE,
        ALIVE,
        PAUSED,
        ended,
        lost,
        REFUSED,
        DISK,
        recorded,
        ReceiverEvent::Tick,
    ];
    let no = Fail(StreamProtocol);
    let (gone, refused, full) = (Fail(PeerClosed), Fail(SessionClosing), Fail(DiskFull));
    let start = Start { is_resumed: false };
    let asked: &[ReceiverEvent] = &[];
    let streaming = &[ACCEPTED, chunk(1)];
    let recording = &[ACCEPTED, chunk(1), COMPLETE];
    let complete = &[ACCEPTED, chunk(1), COMPLETE, recorded];
    let table: [(&[ReceiverEvent], [ReceiverStep; 14]); 5] = [
        (asked, [start, no, no, no, no, no, no, no, no, gone, refused, full, no, Wait]),
        (
            streaming,
            [no, no, no, Store, no, Record(TOTALS), Wait, Wait, no, gone, refused, full, no, Wait],
        ),
        (
            recording,
            [
                Wait,
                Wait,
                Wait,
                Wait,
                Wait,
                Wait,
                Wait,
                Wait,
                Wait,
                Wait,
                Wait,
                full,
                SendReceived,
                Wait,
            ],
        ),
        (complete, [Wait; 14]),
        (&[lost], [Wait; 14]),
    ];
    for (before, steps) in table {
        for (event, step) in all.iter().zip(steps) {
            let mut receiver = receiver(before);
            let state = receiver.state();
            assert_eq!(receiver.on(*event, at(1)), step, "{event:?} in {state:?}");
            if let Fail(reason) = step {
                assert_eq!(receiver.state(), ReceiverState::Failed(reason));
            }
        }
    }
}

#[test]
fn e3_each_event_in_each_state_of_a_source() {
    use FailureReason::{LeaseExpired, PeerClosed, StreamProtocol};
    use SourceEvent::{Checked, Ended, Failed, Heard, Lost, Read, ReadAll, Tick};
    use SourceStep::{Ask, Check, Done, Fail, SendAccepted, SendChunk, SendComplete, Wait};
    let (begin, received) = (Heard(ReceiverSays::Begin), Heard(ReceiverSays::Received));
    let all = [begin, received, Ended, Lost, Checked, Read, ReadAll, Failed(LeaseExpired), Tick];
    let no = Fail(StreamProtocol);
    let (gone, own) = (Fail(PeerClosed), Fail(LeaseExpired));
    let sends = SendChunk { number: 2 };
    let called: &[SourceEvent] = &[];
    let table: [(&[SourceEvent], [SourceStep; 9]); 6] = [
        (called, [Check, no, no, gone, no, no, no, own, Wait]),
        (&[begin], [no, no, no, gone, SendAccepted, no, no, own, Wait]),
        (&[begin, Checked, Read], [no, no, no, gone, no, sends, SendComplete, own, Wait]),
        (&[begin, Checked, ReadAll], [no, Done, Ask, Ask, no, no, no, Ask, Wait]),
        (&[begin, Checked, ReadAll, received], [Wait; 9]),
        (&[Lost], [Wait; 9]),
    ];
    for (before, steps) in table {
        for (event, step) in all.iter().zip(steps) {
            let mut source = source(before);
            let state = source.state();
            assert_eq!(source.on(*event, at(1)), step, "{event:?} in {state:?}");
        }
    }
}

/// The stream's end overtakes the answer to its begin: (a) the answer never comes, (b) it comes
/// after the end, (c) it comes first. The same end with the same reason, and no wait.
#[test]
fn e1_the_end_before_the_answer_ends_alike_in_all_orders() {
    let orders: [&[ReceiverEvent]; 3] = [
        &[ReceiverEvent::Ended],
        &[ReceiverEvent::Ended, ACCEPTED],
        &[ACCEPTED, ReceiverEvent::Ended],
    ];
    for order in orders {
        let receiver = receiver(order);
        let state = ReceiverState::Failed(FailureReason::StreamProtocol);
        assert_eq!(receiver.state(), state, "{order:?}");
        assert_eq!(receiver.deadline(), None, "nothing waits");
    }
}

#[test]
fn e1_complete_before_the_answer_doesnt_belong() {
    for order in [&[COMPLETE][..], &[COMPLETE, ACCEPTED]] {
        let state = ReceiverState::Failed(FailureReason::StreamProtocol);
        assert_eq!(receiver(order).state(), state);
    }
}

#[test]
fn e1_an_answer_that_never_comes_is_not_waited_for_beyond_the_bound() {
    let mut receiver = receiver(&[]);
    assert_eq!(receiver.deadline(), Some(at(STALL_MS)));
    let gone = ReceiverStep::Fail(FailureReason::PeerClosed);
    assert_eq!(receiver.on(ReceiverEvent::Tick, at(STALL_MS)), gone);
}

#[test]
fn a_source_goes_on_only_where_it_was_asked_to() {
    let mut asked = Receiver::new(BOUNDS, true, at(0));
    assert_eq!(asked.on(RESUMED, at(0)), ReceiverStep::Start { is_resumed: true });
    let mut declined = Receiver::new(BOUNDS, true, at(0));
    assert_eq!(declined.on(ACCEPTED, at(0)), ReceiverStep::Start { is_resumed: false });
}

/// Slow but alive, stalled, and half open.
#[test]
fn d6_slow_stalled_and_silent_are_told_apart() {
    let slow = |number: u64| (number * 300, chunk(number));
    let mut receiver = receiver(&[ACCEPTED]);
    for number in 1..20 {
        let (ms, chunk) = slow(number);
        assert_eq!(receiver.on(ReceiverEvent::Tick, at(ms)), ReceiverStep::Wait);
        assert_eq!(receiver.on(chunk, at(ms)), ReceiverStep::Store);
    }
    let began = slow(19).0;
    let mut silent = receiver.clone();
    let half = began + STALL_MS / 2;
    assert_eq!(silent.deadline(), Some(at(half)));
    let gone = ReceiverStep::Fail(FailureReason::PeerClosed);
    assert_eq!(silent.on(ReceiverEvent::Tick, at(half)), gone);

    let alive_until = |mut receiver: Receiver, alive: ReceiverEvent, last: u64| {
        for ms in (0..=last).step_by(200) {
            receiver.on(alive, at(began + ms));
            receiver.on(ReceiverEvent::Tick, at(began + ms));
        }
        receiver.state()
    };
    let stalled = ReceiverState::Failed(FailureReason::StreamStalled);
    let streaming = ReceiverState::Streaming { next: 20 };
    assert_eq!(alive_until(receiver.clone(), ALIVE, STALL_MS - 200), streaming);
    assert_eq!(alive_until(receiver.clone(), ALIVE, STALL_MS), stalled);
    assert_eq!(alive_until(receiver, PAUSED, 10 * STALL_MS), streaming, "paused isn't stalled");
}

#[test]
fn time_in_which_the_receiver_doesnt_listen_isnt_the_sources() {
    let mut receiver = receiver(&[ACCEPTED]);
    receiver.listen_again(at(5_000));
    assert_eq!(receiver.on(ReceiverEvent::Tick, at(5_100)), ReceiverStep::Wait);
}

#[test]
fn a_source_says_that_it_is_there_and_waits_for_the_outcome_within_a_bound() {
    use SourceEvent::{Checked, Heard, ReadAll, Tick};
    let begin = Heard(ReceiverSays::Begin);
    let mut streaming = source(&[begin, Checked]);
    let due = STALL_MS / 4;
    assert_eq!(streaming.on(Tick, at(due - 1)), SourceStep::Wait);
    assert_eq!(streaming.on(Tick, at(due)), SourceStep::SendKeepAlive);
    assert_eq!(streaming.on(Tick, at(due + 1)), SourceStep::Wait, "one is enough");
    let mut completing = source(&[begin, Checked, ReadAll]);
    assert_eq!(completing.on(Tick, at(4 * STALL_MS)), SourceStep::Ask);
    assert_eq!(completing.state(), SourceState::Undecided);
    let mut called = source(&[]);
    assert_eq!(called.on(Tick, at(STALL_MS)), SourceStep::Fail(FailureReason::PeerClosed));
}

/// When a receiver says `Received`.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Says {
    /// As the machine has it.
    OnceDurable,
    /// The control: before its outcome is durable.
    AtOnce,
}

/// A call whose source hangs up the moment that it hears `Received`, and whose receiver dies
/// after `steps` of its steps; `None`: lives on. What the source believes, and what the
/// receiver's record says.
fn hang_up_on_the_last_message(says: Says, dies_after: Option<usize>) -> (SourceState, bool) {
    let begin = SourceEvent::Heard(ReceiverSays::Begin);
    let mut source = source(&[begin, SourceEvent::Checked, SourceEvent::Read]);
    let mut receiver = receiver(&[ACCEPTED, chunk(1)]);
    source.on(SourceEvent::ReadAll, at(1));
    let mut is_on_record = false;
    let mut event = COMPLETE;
    for step in 0.. {
        if Some(step) == dies_after {
            source.on(SourceEvent::Lost, at(2));
            break;
        }
        let received = SourceEvent::Heard(ReceiverSays::Received);
        match receiver.on(event, at(1)) {
            ReceiverStep::Record(_) if says == Says::AtOnce && step == 0 => {
                // The source hangs up at once: the end comes before the record was written.
                assert_eq!(source.on(received, at(1)), SourceStep::Done);
                assert_eq!(receiver.on(ReceiverEvent::Ended, at(1)), ReceiverStep::Wait);
                event = ReceiverEvent::Recorded;
            }
            ReceiverStep::Record(_) => {
                is_on_record = true;
                event = ReceiverEvent::Recorded;
            }
            ReceiverStep::SendReceived => {
                is_on_record = true;
                source.on(received, at(1));
                // End of file: nothing, but for a debug line.
                assert_eq!(receiver.on(ReceiverEvent::Ended, at(1)), ReceiverStep::Wait);
                assert_eq!(receiver.state(), ReceiverState::Complete);
                break;
            }
            other => panic!("{other:?} doesn't belong"),
        }
    }
    (source.state(), is_on_record)
}

#[test]
fn d1_complete_against_close_ends_complete_on_both_ends() {
    let both = (SourceState::Complete, true);
    assert_eq!(hang_up_on_the_last_message(Says::OnceDurable, None), both);
    for died in 0..2 {
        let (source, is_on_record) = hang_up_on_the_last_message(Says::OnceDurable, Some(died));
        assert_eq!(source, SourceState::Undecided, "it asks");
        assert_eq!(is_on_record, died > 0, "and the record says");
    }
}

#[test]
fn d1_control_received_before_the_outcome_is_durable_lets_the_ends_disagree() {
    let disagree = (SourceState::Complete, false);
    assert_eq!(hang_up_on_the_last_message(Says::AtOnce, Some(1)), disagree);
}

//! Messages that arrive: each within a time once it has begun, and large ones few at a time.
//!
//! A message takes memory while it is put together. Small ones are bounded by the number of calls
//! at a time; large ones share a budget of their port, so that callers of large ones never keep
//! small ones out: leases and what barriers need are small. Where a call has one message, its time
//! goes on until the caller has said that it is all, and its room is taken until there is an
//! answer: who serves it has it in memory so long. Not here: how large one may be, which each service says
//! itself.

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use proto::reasons::Reason;
use proto::status::Refusal;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::body::Body;
use tonic::{Code, Status};

/// A message that is no longer than this needs no place.
pub const SMALL_BYTES: usize = 64 << 10;
/// What all larger messages that arrive at one port may take at a time.
pub const LARGE_BYTES: usize = 128 << 20;
/// How long a message may take from its first byte to its last; the first one of a call from the
/// call's begin.
pub const MESSAGE_TIME: Duration = Duration::from_secs(30);
/// In front of each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// What the messages of one port may take. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    large: Arc<Semaphore>,
    time: Duration,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { large: Arc::new(Semaphore::new(LARGE_BYTES)), time: MESSAGE_TIME }
    }
}

/// What the last message of a call has taken of the budget, for as long as anybody has this.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Held {
    fn set(&self, permit: Option<OwnedSemaphorePermit>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = permit;
    }
}

/// How many messages a call's caller sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Messages {
    One,
    Stream,
}

/// The body of a request, held to the bounds.
#[derive(Debug)]
pub(crate) struct Arriving {
    body: Body,
    budget: Budget,
    messages: Messages,
    /// Whether a message has begun.
    begun: bool,
    /// What has come of the prefix of the next message.
    prefix: Vec<u8>,
    /// What is missing of the one that has begun.
    missing: usize,
    held: Held,
    /// Until when it has to be there; none between two messages of a stream.
    due: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Arriving {
    pub(crate) fn new(body: Body, budget: Budget, messages: Messages, held: Held) -> Arriving {
        let (prefix, missing, begun) = (Vec::with_capacity(PREFIX), 0, false);
        let due = Some(Instant::now() + budget.time);
        Arriving { body, budget, messages, begun, prefix, missing, held, due, sleep: None }
    }

    /// Takes note of what has come.
    fn note(&mut self, mut data: &[u8]) -> Result<(), Status> {
        while !data.is_empty() {
            if self.missing > 0 {
                let taken = self.missing.min(data.len());
                self.missing -= taken;
                data = &data[taken..];
                self.end_if_whole();
                continue;
            }
            if self.begun && self.messages == Messages::One {
                let message = "a second message where one is the request";
                return Err(Refusal::new(Reason::StreamProtocol, message).into());
            }
            // The first one has begun with the call.
            self.due.get_or_insert_with(|| Instant::now() + self.budget.time);
            let taken = (PREFIX - self.prefix.len()).min(data.len());
            self.prefix.extend_from_slice(&data[..taken]);
            data = &data[taken..];
            if let [_, a, b, c, d] = self.prefix[..] {
                self.prefix.clear();
                self.missing = u32::from_be_bytes([a, b, c, d]) as usize;
                self.begun = true;
                self.held.set(self.budget.take(self.missing)?);
                self.end_if_whole();
            }
        }
        Ok(())
    }

    fn end_if_whole(&mut self) {
        if self.missing == 0 && self.messages == Messages::Stream {
            (self.due, self.sleep) = (None, None);
        }
    }

    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        let Some(due) = self.due else { return false };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        sleep.as_mut().poll(context).is_ready()
    }
}

impl Budget {
    /// What one message needs. More than the whole budget is for its service to refuse.
    fn take(&self, bytes: usize) -> Result<Option<OwnedSemaphorePermit>, Status> {
        if bytes <= SMALL_BYTES || bytes > LARGE_BYTES {
            return Ok(None);
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let taken = Arc::clone(&self.large).try_acquire_many_owned(bytes);
        let refusal = |_| Refusal::new(Reason::Overloaded, "too many large messages at a time");
        Ok(Some(taken.map_err(refusal)?))
    }
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.missing == 0 && this.messages == Messages::Stream {
            // Whoever asks on has taken the last one.
            this.held.set(None);
        }
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let noted = frame.data_ref().map_or(Ok(()), |data| this.note(data));
                Poll::Ready(Some(noted.map(|()| frame)))
            }
            Poll::Pending if this.is_late(context) => {
                let time = this.budget.time;
                let message = format!("a message was not at its end {time:?} after it began");
                Poll::Ready(Some(Err(Status::new(Code::DeadlineExceeded, message))))
            }
            other => other,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::sync::mpsc;

    /// A body that is said bit by bit.
    struct Said(mpsc::Receiver<Bytes>);

    impl http_body::Body for Said {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            self.0.poll_recv(context).map(|data| data.map(|data| Ok(Frame::data(data))))
        }
    }

    fn body(budget: &Budget) -> (mpsc::Sender<Bytes>, Arriving) {
        arriving(budget, Messages::Stream, Held::default())
    }

    fn arriving(
        budget: &Budget,
        messages: Messages,
        held: Held,
    ) -> (mpsc::Sender<Bytes>, Arriving) {
        let (say, said) = mpsc::channel(8);
        (say, Arriving::new(Body::new(Said(said)), budget.clone(), messages, held))
    }

    fn short() -> Budget {
        Budget { time: Duration::from_millis(200), ..Budget::default() }
    }

    fn prefix(length: usize) -> Bytes {
        let length = u32::try_from(length).expect("it fits");
        [&[0], &length.to_be_bytes()[..]].concat().into()
    }

    async fn next(body: &mut Arriving) -> Option<Result<Bytes, Status>> {
        let frame = poll_fn(|context| http_body::Body::poll_frame(Pin::new(body), context)).await;
        frame.map(|frame| frame.map(|frame| frame.into_data().expect("data")))
    }

    async fn refused(body: &mut Arriving) -> Code {
        let answer = next(body).await.expect("no end");
        answer.expect_err("it is refused").code()
    }

    #[tokio::test]
    async fn a_message_that_has_begun_has_to_end() {
        let budget = short();
        let (_say, mut nothing) = body(&budget);
        assert_eq!(refused(&mut nothing).await, Code::DeadlineExceeded);
        // Whoever drips is no better off.
        let (say, mut slow) = body(&budget);
        say.try_send(prefix(1 << 20)).expect("it listens");
        let dripping = tokio::spawn(async move {
            while say.send(Bytes::from_static(b"x")).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let ended = loop {
            if let Err(status) = next(&mut slow).await.expect("no end") {
                break status.code();
            }
        };
        assert_eq!(ended, Code::DeadlineExceeded);
        drop(slow);
        dripping.await.expect("it ends");
    }

    #[tokio::test]
    async fn between_two_messages_there_is_all_the_time() {
        let (say, mut body) = body(&short());
        // Two at once, the second in two parts.
        let first = [&prefix(2)[..], b"ab", &prefix(1)].concat();
        say.try_send(first.into()).expect("it listens");
        next(&mut body).await.expect("no end").expect("a part");
        say.try_send(Bytes::from_static(b"c")).expect("it listens");
        next(&mut body).await.expect("no end").expect("the rest");
        let later = tokio::time::timeout(Duration::from_secs(1), next(&mut body)).await;
        assert!(later.is_err(), "it waits for another one: {later:?}");
        say.try_send(prefix(0)).expect("it listens");
        next(&mut body).await.expect("no end").expect("an empty one");
        drop(say);
        assert!(next(&mut body).await.is_none());
    }

    /// The one message of a call is there, and its caller doesn't say that it is all: so the call
    /// would never be served, and what has come of it would be in memory for ever.
    #[tokio::test]
    async fn one_message_that_is_left_open_has_to_end() {
        let (say, mut open) = arriving(&short(), Messages::One, Held::default());
        say.try_send([&prefix(2)[..], b"ab"].concat().into()).expect("it listens");
        next(&mut open).await.expect("no end").expect("the message");
        assert_eq!(refused(&mut open).await, Code::DeadlineExceeded);
        let (say, mut two) = arriving(&Budget::default(), Messages::One, Held::default());
        say.try_send([&prefix(2)[..], b"ab", &prefix(1)].concat().into()).expect("it listens");
        assert_eq!(refused(&mut two).await, Code::FailedPrecondition);
        let (say, mut whole) = arriving(&short(), Messages::One, Held::default());
        say.try_send(prefix(0)).expect("it listens");
        drop(say);
        next(&mut whole).await.expect("no end").expect("an empty one");
        assert!(next(&mut whole).await.is_none());
    }

    #[tokio::test]
    async fn the_room_of_one_message_is_taken_until_its_call_is_answered() {
        let (budget, held) = (Budget::default(), Held::default());
        let (say, mut one) = arriving(&budget, Messages::One, held.clone());
        say.try_send(prefix(LARGE_BYTES)).expect("it listens");
        next(&mut one).await.expect("no end").expect("there is room");
        for _ in 0..LARGE_BYTES >> 20 {
            say.try_send(vec![0; 1 << 20].into()).expect("it listens");
            next(&mut one).await.expect("no end").expect("a part");
        }
        drop(say);
        assert!(next(&mut one).await.is_none());
        drop(one);
        let (say, mut other) = body(&budget);
        say.try_send(prefix(SMALL_BYTES + 1)).expect("it listens");
        assert_eq!(refused(&mut other).await, Code::ResourceExhausted);
        drop(held);
        let (say, mut other) = body(&budget);
        say.try_send(prefix(SMALL_BYTES + 1)).expect("it listens");
        next(&mut other).await.expect("no end").expect("it was answered");
    }

    #[tokio::test]
    async fn large_messages_share_a_budget_and_small_ones_need_none() {
        let (budget, large) = (Budget::default(), 4 << 20);
        let mut bodies = Vec::new();
        for _ in 0..LARGE_BYTES / large {
            let (say, mut body) = body(&budget);
            say.try_send(prefix(large)).expect("it listens");
            next(&mut body).await.expect("no end").expect("there is room");
            bodies.push((say, body));
        }
        let (say, mut refused_body) = body(&budget);
        say.try_send(prefix(large)).expect("it listens");
        assert_eq!(refused(&mut refused_body).await, Code::ResourceExhausted);
        let (say, mut small) = body(&budget);
        say.try_send(prefix(SMALL_BYTES)).expect("it listens");
        next(&mut small).await.expect("no end").expect("it needs no room");
        // One that is whole gives its room back once somebody asks on.
        let (say, whole) = bodies.first_mut().expect("one");
        say.try_send(vec![0; large].into()).expect("it listens");
        say.try_send(prefix(SMALL_BYTES)).expect("it listens");
        next(whole).await.expect("no end").expect("the rest");
        next(whole).await.expect("no end").expect("the next one");
        let (say, mut body) = body(&budget);
        say.try_send(prefix(large)).expect("it listens");
        next(&mut body).await.expect("no end").expect("there is room again");
    }
}

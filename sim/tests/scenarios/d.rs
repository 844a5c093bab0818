//! D: streams.

use super::each_seed;
use migrations::tablet::Ending;
use palisade_sim::story::{Kind, Shape, Story, Told};

/// Chunks that come now and then; signs of life and no chunk; nothing at all.
#[test]
fn d6_slow_stalled_and_silent_streams_are_told_apart() -> Told {
    each_seed(|seed| {
        let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
        story.fill('A', 9)?;
        let slow = story.migrate('A', "a", "d")?;
        for _ in 0..3 {
            let rows = story.hold(Kind::Feed.to("a").first(1));
            story.until_held(rows, 1)?;
            story.pass(500)?;
            story.release(rows);
            let sent = story.told("a -> d: chunk");
            story.until("they are sent", |s| s.told("a -> d: chunk") > sent)?;
        }
        story.until_ended(slow, Ending::Done)?;
        story.must("slow is not stalled", story.told("attempt 2") == 0)?;

        let stalled = story.migrate('A', "d", "a")?;
        let rows = story.hold(Kind::Feed.to("d"));
        story.until("it has stalled", |s| s.told("failed, STREAM_STALLED") == 1)?;
        story.must("rows were kept back", story.held(rows) > 0)?;
        story.release(rows);
        story.until_ended(stalled, Ending::Done)?;

        let kinds = [Kind::Accepted, Kind::Chunk, Kind::Complete, Kind::KeepAlive];
        let silent = kinds.map(|kind| story.hold(kind.from("b").to("d")));
        let begun = story.now_ms();
        let half_open = story.migrate('A', "b", "d")?;
        story.until("silence is noticed", |s| s.told("failed, PEER") == 1)?;
        let took = story.now_ms() - begun;
        story.must(&format!("within the bound: {took} ms"), took < 1_500)?;
        silent.into_iter().for_each(|hold| story.lose(hold));
        story.until_ended(half_open, Ending::Done)?;
        let mut story = story.end()?;
        story.reads_filled('A', 9)
    })
}

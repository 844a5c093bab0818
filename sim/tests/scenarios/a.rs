//! A: guards and sessions.

use migrations::stage::Stage;
use migrations::tablet::Ending;
use palisade_sim::story::{Kind, Shape, Story, Told};

fn one() -> Shape {
    Shape::of(&["abc"])
}

#[test]
fn plain() -> Told {
    let mut story = Story::begin(&one())?;
    story.fill('A', 9)?;
    let chunk = story.hold(Kind::ChunkBeforeGuard.to("d"));
    let migration = story.migrate('A', "a", "d")?;
    story.until_held(chunk, 1)?;
    story.release(chunk);
    story.until_ended(migration, Ending::Done)?;
    story.reads_filled('A', 9)?;
    let story = story.end()?;
    println!("{}", story.trace());
    let _ = Stage::Cleanup;
    story.must("d has it", story.replicas('A') == "bcd")
}

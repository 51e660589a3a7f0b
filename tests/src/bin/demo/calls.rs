//! The pipe: what the agent sees, what it may call, and how often.

use std::fs;

use harness::arena::TOGETHER_IMAGES;
use harness::session::{Session, denial_code, text_of};
use serde_json::{Value, json};

use crate::screen::{chapter, held, must, say};
use crate::{Chapter, Stage};

pub(crate) fn tell(stage: &Stage) -> Chapter {
    let mut session = stage.run().begin();

    chapter(1, "What the agent sees");
    let tools = session.tool_names();
    must(tools == ["generate_image"], "an unlisted tool is not shown")?;
    held(&format!("tools/list shows {tools:?}. The server also has purge_images; the policy does not list it."));
    let answer = session.call("purge_images", json!({}));
    must(denial_code(&answer) == Some("not_listed"), "an unlisted tool is refused")?;
    held(&format!("calling it all the same: {}", text_of(&answer)));

    chapter(2, "An allowed call");
    let path = format!("{TOGETHER_IMAGES}/lighthouse.png");
    let answer = session.call("generate_image", json!({"prompt": "a lighthouse at dusk", "image_path": path}));
    must(is_allowed(&answer), &format!("an allowed call succeeds: {answer}"))?;
    let picture = fs::read(stage.images.join("lighthouse.png")).map_err(|error| format!("the image file: {error}"))?;
    must(picture.starts_with(b"\x89PNG"), "the file is a PNG")?;
    let requests = stage.stand_in.requests();
    must(requests.len() == 1, "the API got one request")?;
    held(&format!("the API got \"{}\"; {} bytes of PNG are in {path}", requests[0].line, picture.len()));

    chapter(3, "A denied argument");
    let answer = session.call("generate_image", json!({"prompt": "p", "width": 16_384}));
    must(denial_code(&answer) == Some("condition_failed"), "an argument out of bounds is refused")?;
    held(&format!("width 16384: {}", text_of(&answer)));
    let answer = session.call("generate_image", json!({"prompt": "p", "image_path": "/etc/cron.d/backdoor"}));
    must(denial_code(&answer) == Some("condition_failed"), "a path outside the folder is refused")?;
    held(&format!("image_path /etc/cron.d/backdoor: {}", text_of(&answer)));
    must(stage.stand_in.requests().len() == 1, "a denied call never reaches the API")?;

    limit(stage, &mut session)?;
    must(session.finish().code == 0, "the session ends well")
}

fn limit(stage: &Stage, session: &mut Session) -> Chapter {
    chapter(4, "Ten calls a minute");
    for number in 2..=10 {
        let answer = session.call("generate_image", json!({"prompt": format!("picture {number}")}));
        must(is_allowed(&answer), &format!("call {number} is allowed: {answer}"))?;
    }
    held("calls 2 to 10: allowed");
    let answer = session.call("generate_image", json!({"prompt": "one more"}));
    must(denial_code(&answer) == Some("rate_limited"), "the eleventh call is refused")?;
    held(&format!("call 11: {}", text_of(&answer)));
    must(stage.stand_in.requests().len() == 10, "the API saw ten calls")?;
    say("       The count is on disk: killing and restarting us does not reset it.");
    Ok(())
}

fn is_allowed(answer: &Value) -> bool {
    answer["result"]["content"].is_array() && answer["result"]["isError"] != true
}

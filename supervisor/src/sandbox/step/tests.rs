use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use super::*;

fn there_and_back(message: &Message) -> Message {
    Message::decode(&message.encode()).unwrap()
}

#[test]
fn tables_match_discriminants() {
    for (index, step) in Step::ALL.iter().enumerate() {
        assert_eq!(*step as usize, index, "{}", step.name());
    }
    for (index, layer) in Layer::ALL.iter().enumerate() {
        assert_eq!(*layer as usize, index, "{}", layer.name());
    }
    const { assert!(MESSAGE_BYTES <= 4096) };
}

#[test]
fn every_kind_survives_the_pipe() {
    let failure = Failure { step: Step::Rootfs, errno: Some(Errno::EROFS), detail: "/opt/x".to_owned() };
    for message in [
        Message::WantsMaps,
        Message::WantsRelease,
        Message::AtGate,
        Message::Listener,
        Message::Failed(failure),
        Message::Failed(Failure { step: Step::Exec, errno: None, detail: String::new() }),
        Message::Layer(LayerReport { layer: Layer::Lsm, answer: Answer::Unsupported("none".to_owned()) }),
        Message::Layer(LayerReport { layer: Layer::Namespaces, answer: Answer::Enforced }),
        Message::Layer(LayerReport { layer: Layer::Landlock, answer: Answer::Partial("ABI 1".to_owned()) }),
    ] {
        assert_eq!(there_and_back(&message), message);
    }
}

#[test]
fn a_long_detail_is_cut_on_a_character() {
    let detail = "é".repeat(LAUNCH_DETAIL_BYTES_MAX); // two bytes each: twice what fits
    let Message::Failed(cut) = there_and_back(&Message::Failed(Failure { step: Step::Gate, errno: None, detail }))
    else {
        panic!("kind changed");
    };
    assert_eq!(cut.detail, "é".repeat(LAUNCH_DETAIL_BYTES_MAX / 2));
}

#[test]
fn garbage_is_refused() {
    let good = Message::AtGate.encode();
    for (at, value) in [(0, 6), (2, 1), (9, 0xFF)] {
        let mut bad = good;
        bad[at] = value;
        assert_eq!(Message::decode(&bad), None, "byte {at}");
    }
    let mut layer = Message::Layer(LayerReport { layer: Layer::Lsm, answer: Answer::Enforced }).encode();
    layer[1] = u8::try_from(Layer::ALL.len()).unwrap();
    assert_eq!(Message::decode(&layer), None);
}

#[test]
fn the_end_of_the_pipe_is_not_a_message() {
    let (read, write) = nix::unistd::pipe().unwrap();
    let reporter = Reporter(write);
    reporter.send(&Message::AtGate).unwrap();
    assert_eq!(receive(&read).unwrap(), Some(Message::AtGate));
    nix::unistd::write(&reporter.0, b"torn").unwrap();
    drop(reporter);
    assert_eq!(receive(&read), Err(Errno::EIO));
}

#[test]
fn a_listener_comes_with_its_message_and_with_no_other() {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
    let reporter = Reporter(theirs);
    let listener = || nix::unistd::pipe().unwrap().0;
    reporter.send(&Message::AtGate).unwrap();
    reporter.hand_listener(listener()).unwrap();
    assert!(matches!(hear(&ours), Ok(Some((Message::AtGate, None)))));
    assert!(matches!(hear(&ours), Ok(Some((Message::Listener, Some(_))))));
    reporter.send(&Message::Listener).unwrap();
    assert!(matches!(hear(&ours), Err(Errno::EBADMSG)), "it did not come");
    pass::send(reporter.0.as_fd(), &Message::AtGate.encode(), Some(listener().as_fd())).unwrap();
    assert!(matches!(hear(&ours), Err(Errno::EBADMSG)), "nobody asked for one");
    nix::unistd::write(&reporter.0, b"torn").unwrap();
    assert!(matches!(hear(&ours), Err(Errno::EIO)));
    drop(reporter);
    assert!(matches!(hear(&ours), Ok(None)));
}

#[test]
fn one_answer_of_each_layer_or_none_at_all() {
    let all = Layer::ALL.map(|layer| LayerReport { layer, answer: Answer::Partial(layer.name().to_owned()) });
    let told = |layers: &[LayerReport]| {
        let (read, write) = nix::unistd::pipe().unwrap();
        send_layers(write, layers).unwrap();
        receive_layers(&read)
    };
    assert_eq!(told(&all).unwrap(), all);
    assert_eq!(told(&all[1..]), Err(Errno::EBADMSG), "the first is missing");
    assert_eq!(told(&all[..all.len() - 1]), Err(Errno::EBADMSG), "the last is missing");
    assert_eq!(told(&[]), Err(Errno::EBADMSG), "the monitor gave up");
}

#[test]
fn a_failure_reads_well() {
    let failure = Failure { step: Step::Rootfs, errno: Some(Errno::ENOENT), detail: "/opt/x".to_owned() };
    assert_eq!(failure.to_string(), "step rootfs: /opt/x: No such file or directory (ENOENT)");
}

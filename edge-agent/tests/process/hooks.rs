//! The vendor's programs and the standing file.

use crate::agent::Terminal;
use crate::bus::Bus;
use events::vocabulary::shared::{DirectiveId, Legitimacy, OperationKind};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Hooks that append what they are told to `told`.
fn with_hooks(terminal: &Terminal) {
    let told = terminal.path("told");
    rustix::fs::mkfifoat(rustix::fs::CWD, &told, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    let script = format!("echo $MUSTER_HOOK $MUSTER_LEGITIMACY$MUSTER_DIRECTIVE $0 > {}", told.display());
    let hook = |name: &str| format!("{name} = [\"/bin/sh\", \"-c\", \"{script}\", \"the {name} hook\"]\n");
    let hooks: String = ["full", "restricted", "update", "notify"].map(hook).concat();
    terminal.configure(&format!("[hooks]\n{hooks}"));
    terminal.configure_top("standing_file = \"standing.json\"");
}

/// What the next hook says: reading a pipe waits for its writer.
async fn next_told(terminal: &Terminal) -> String {
    tokio::fs::read_to_string(terminal.path("told")).await.unwrap()
}

fn standing(file: &Path) -> serde_json::Value {
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o644);
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_and_standing_file_say_what_the_terminal_may_do_and_what_the_cluster_offers() {
    let bus = Bus::start(23).await;
    let terminal = Terminal::new(&bus, 23);
    with_hooks(&terminal);
    terminal.activate(&bus).await;
    let file = terminal.path("standing.json");
    let mut running = terminal.run();
    assert_eq!(next_told(&terminal).await, "full legitimate the full hook\n");
    running.until("acknowledged").await;
    assert_eq!(standing(&file)["standing"], "full");
    assert_eq!(standing(&file)["device"], terminal.device.to_string());

    let offer = events::envelope::Directive {
        id: DirectiveId { generation: 1, index: 900, ordinal: 2 },
        kind: OperationKind::OfferUpdate,
        expires: events::time::Timestamp::ZERO,
    };
    bus.cluster.lock().unwrap().device_mut(terminal.device).directive = Some(offer);
    assert_eq!(next_told(&terminal).await, "update 1.900.2 the update hook\n");

    bus.cluster.lock().unwrap().device_mut(terminal.device).legitimacy = Legitimacy::Restricted;
    assert_eq!(next_told(&terminal).await, "restricted restricted the restricted hook\n");
    assert_eq!(standing(&file)["standing"], "restricted");
    running.terminate().await;

    // The next boot tells it again before anybody was asked.
    let running = terminal.run();
    assert_eq!(next_told(&terminal).await, "restricted restricted the restricted hook\n");
    running.terminate().await;
}

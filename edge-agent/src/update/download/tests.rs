//! Against a server on this machine that cuts, lies, repeats and forgets.

use super::*;
use crate::update::HttpClient;
use events::ids::{LotId, RolloutId};
use events::time::Timestamp;
use events::update::UpdateScope;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// What the server does with its nth request; the last for all that follow.
#[derive(Clone)]
enum Act {
    /// Sends this part from where it was asked to, with the right length, and closes.
    Serve(Vec<u8>),
    /// Promises all of it and closes after so many bytes.
    Cut(Vec<u8>, usize),
    /// Knows nothing of ranges.
    Whole(Vec<u8>),
    /// The same, and closes so many bytes behind where it was asked to begin.
    WholeCut(Vec<u8>, isize),
    Status(u16),
}

struct Server {
    url: String,
    /// First bytes asked for.
    asked: Arc<Mutex<Vec<u64>>>,
}

async fn server(acts: Vec<Act>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/artifact", listener.local_addr().unwrap());
    let asked: Arc<Mutex<Vec<u64>>> = Arc::default();
    let book = asked.clone();
    tokio::spawn(async move {
        for n in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap().to_lowercase();
            let from = head.split("range: bytes=").nth(1).and_then(|rest| rest.split('-').next());
            let from: u64 = from.map_or(0, |first| first.parse().unwrap());
            book.lock().unwrap().push(from);
            let answer = answer(acts.get(n).or(acts.last()).unwrap(), from as usize);
            let _cut = stream.write_all(&answer).await;
            let _cut = stream.shutdown().await;
        }
    });
    Server { url, asked }
}

fn answer(act: &Act, from: usize) -> Vec<u8> {
    let part = |all: &[u8], sent: usize| {
        let head = match from {
            0 => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", all.len()),
            from => format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{}\r\n\r\n",
                all.len() - from,
                all.len() - 1,
                all.len()
            ),
        };
        let rest = &all[from.min(all.len())..];
        [head.as_bytes(), &rest[..sent.min(rest.len())]].concat()
    };
    match act {
        Act::Serve(all) => part(all, usize::MAX),
        Act::Cut(all, after) => part(all, *after),
        Act::Whole(all) => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", all.len());
            [head.as_bytes(), all].concat()
        }
        Act::WholeCut(all, beyond) => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", all.len());
            [head.as_bytes(), &all[..from.saturating_add_signed(*beyond).min(all.len())]].concat()
        }
        Act::Status(status) => format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n").into_bytes(),
    }
}

fn artifact_bytes() -> Vec<u8> {
    (0..200_000_u32).flat_map(|n| n.to_le_bytes()).take(300_000).collect()
}

fn offer(urls: &[&Server], bytes: &[u8]) -> Offer {
    Offer {
        rollout: RolloutId::from_bytes([9; 16]),
        scope: UpdateScope::Lots(vec![LotId::from_bytes([1; 4])]),
        firmware: 8,
        floor: 8,
        not_after: Timestamp::from_millis(u64::MAX),
        size: bytes.len() as u64,
        digest: Sha384::digest(bytes).into(),
        kind: "rauc".into(),
        urls: urls.iter().map(|server| server.url.clone()).collect(),
    }
}

/// Fetches with next to no back-off; returns how it ended and what lies in the folder.
async fn fetch(folder: &TempDir, offer: &Offer) -> (Fetched, Option<Vec<u8>>) {
    let download = Download::new(offer, folder.path(), Duration::from_millis(1));
    let fetched = download.fetch(&mut HttpClient::new(None)).await;
    (fetched, fs::read(artifact(folder.path())).ok())
}

/// Tests may run as root, who may read everything: so what the kernel says is given.
#[test]
fn an_artifact_that_an_updater_made_its_own_is_fetched_anew_and_a_disk_that_fails_is_told() {
    assert!(is_lost(io::ErrorKind::NotFound) && is_lost(io::ErrorKind::PermissionDenied));
    assert!(!is_lost(io::ErrorKind::Other) && !is_lost(io::ErrorKind::OutOfMemory));
}

#[tokio::test]
async fn a_connection_that_is_cut_goes_on_where_it_ended() {
    let (bytes, folder) = (artifact_bytes(), tempfile::tempdir().unwrap());
    let cut = |after| Act::Cut(artifact_bytes(), after);
    let server = server(vec![cut(100_000), cut(50_000), Act::Serve(bytes.clone())]).await;
    let (fetched, found) = fetch(&folder, &offer(&[&server], &bytes)).await;
    assert_eq!((fetched, found.as_ref()), (Fetched::Whole, Some(&bytes)));
    let asked = server.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(asked[1] > 0 && asked[2] > asked[1], "no byte that came is fetched again: {asked:?}");
}

#[tokio::test]
async fn what_an_earlier_start_left_is_continued() {
    let (bytes, folder) = (artifact_bytes(), tempfile::tempdir().unwrap());
    fs::write(artifact(folder.path()), &bytes[..123]).unwrap();
    let server = server(vec![Act::Serve(bytes.clone())]).await;
    let (fetched, found) = fetch(&folder, &offer(&[&server], &bytes)).await;
    assert_eq!((fetched, found), (Fetched::Whole, Some(bytes)));
    assert_eq!(*server.asked.lock().unwrap(), [123]);
}

#[tokio::test]
async fn holes_that_a_power_cut_left_are_found_and_all_of_it_is_fetched_once_more() {
    let (bytes, folder) = (artifact_bytes(), tempfile::tempdir().unwrap());
    fs::write(artifact(folder.path()), vec![0; 1000]).unwrap();
    let server = server(vec![Act::Serve(bytes.clone())]).await;
    let (fetched, found) = fetch(&folder, &offer(&[&server], &bytes)).await;
    assert_eq!((fetched, found), (Fetched::Whole, Some(bytes)));
    assert_eq!(*server.asked.lock().unwrap(), [1000, 0]);
}

#[tokio::test]
async fn a_server_without_ranges_is_read_from_the_start() {
    let (bytes, folder) = (artifact_bytes(), tempfile::tempdir().unwrap());
    fs::write(artifact(folder.path()), &bytes[..5000]).unwrap();
    let server = server(vec![Act::Whole(bytes.clone())]).await;
    let (fetched, found) = fetch(&folder, &offer(&[&server], &bytes)).await;
    assert_eq!((fetched, found), (Fetched::Whole, Some(bytes)));
}

#[tokio::test]
async fn the_next_place_is_tried_when_one_has_nothing() {
    let (bytes, folder) = (artifact_bytes(), tempfile::tempdir().unwrap());
    let (gone, good) = (server(vec![Act::Status(404)]).await, server(vec![Act::Serve(bytes.clone())]).await);
    let (fetched, found) = fetch(&folder, &offer(&[&gone, &good], &bytes)).await;
    assert_eq!((fetched, found), (Fetched::Whole, Some(bytes)));
}

#[tokio::test]
async fn an_altered_artifact_is_refused_and_nothing_of_it_stays() {
    let (bytes, folder) = (artifact_bytes(), tempfile::tempdir().unwrap());
    let mut altered = bytes.clone();
    altered[299_999] ^= 1;
    let server = server(vec![Act::Serve(altered)]).await;
    let (fetched, found) = fetch(&folder, &offer(&[&server], &bytes)).await;
    assert_eq!((fetched, found), (Fetched::Failed(UpdateFailure::Digest), None));
}

#[tokio::test]
async fn an_artifact_of_another_size_is_refused_whether_truncated_or_longer() {
    let bytes = artifact_bytes();
    let longer = [&bytes[..], b"more"].concat();
    for other in [bytes[..bytes.len() - 1].to_vec(), longer] {
        let folder = tempfile::tempdir().unwrap();
        let server = server(vec![Act::Serve(other)]).await;
        let (fetched, found) = fetch(&folder, &offer(&[&server], &bytes)).await;
        assert_eq!((fetched, found), (Fetched::Failed(UpdateFailure::Size), None));
        assert_eq!(server.asked.lock().unwrap().len(), BARREN_TRIES_MAX as usize, "it may be a passing page");
    }
}

#[tokio::test]
async fn a_page_of_a_portal_costs_a_try_and_neither_the_offer_nor_what_lies_on_flash() {
    let (bytes, folder) = (artifact_bytes(), tempfile::tempdir().unwrap());
    fs::write(artifact(folder.path()), &bytes[..5000]).unwrap();
    let page = b"<html>Accept our terms</html>".to_vec();
    let acts = vec![Act::Whole(page.clone()), Act::Whole(page), Act::Serve(bytes.clone())];
    let server = server(acts).await;
    let (fetched, found) = fetch(&folder, &offer(&[&server], &bytes)).await;
    assert_eq!((fetched, found), (Fetched::Whole, Some(bytes)));
    assert_eq!(*server.asked.lock().unwrap(), [5000, 5000, 5000]);
}

#[tokio::test]
async fn a_place_that_has_something_else_and_one_that_is_gone_are_no_verdict_on_the_size() {
    let (bytes, folder) = (artifact_bytes(), tempfile::tempdir().unwrap());
    let (stale, gone) =
        (server(vec![Act::Whole(b"old".to_vec())]).await, server(vec![Act::Status(503)]).await);
    let (fetched, found) = fetch(&folder, &offer(&[&stale, &gone], &bytes)).await;
    assert_eq!((fetched, found), (Fetched::Failed(UpdateFailure::Download), None));
}

#[tokio::test]
async fn what_lies_on_flash_is_not_written_again_by_a_server_that_begins_anew_each_time() {
    let (bytes, folder) = (artifact_bytes(), tempfile::tempdir().unwrap());
    let begins_anew = |beyond| Act::WholeCut(artifact_bytes(), beyond);
    let acts =
        vec![begins_anew(100_000), begins_anew(-90_000), begins_anew(50_000), Act::Serve(bytes.clone())];
    let server = server(acts).await;
    let (fetched, found) = fetch(&folder, &offer(&[&server], &bytes)).await;
    assert_eq!((fetched, found), (Fetched::Whole, Some(bytes)));
    assert_eq!(*server.asked.lock().unwrap(), [0, 100_000, 100_000, 150_000]);
}

#[tokio::test]
async fn a_server_that_sends_all_of_it_for_a_little_more_each_time_is_given_up() {
    let (bytes, folder) = (artifact_bytes(), tempfile::tempdir().unwrap());
    let server = server(vec![Act::WholeCut(bytes.clone(), 5_000)]).await;
    let (fetched, found) = fetch(&folder, &offer(&[&server], &bytes)).await;
    assert_eq!((fetched, found), (Fetched::Failed(UpdateFailure::Download), None));
    let sent: u64 = server.asked.lock().unwrap().iter().map(|from| from + 5_000).sum();
    let most = bytes.len() as u64 * RECEIVED_MAX + RECEIVED_BESIDE;
    assert!(sent >= most && sent < most + bytes.len() as u64, "{sent} bytes came, {most} are enough");
}

/// A pipe in the place of the file: it takes no more than it holds until somebody reads it.
#[tokio::test]
async fn flash_that_takes_its_time_does_not_stop_the_agents_loop() {
    let (bytes, folder) = (artifact_bytes(), tempfile::tempdir().unwrap());
    let pipe = artifact(folder.path());
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let (alive, signs) = std::sync::mpsc::channel();
    let flash = std::thread::spawn(move || {
        let mut pipe = File::open(pipe).unwrap();
        while rustix::io::ioctl_fionread(&pipe).unwrap() == 0 {
            std::thread::yield_now();
        }
        // What is written at once is more than a pipe holds: from here on the writer waits for us. What the loop said
        // before does not count.
        while signs.try_recv().is_ok() {}
        let lives = signs.recv_timeout(Duration::from_secs(10)).is_ok();
        io::copy(&mut pipe, &mut io::sink()).unwrap();
        lives
    });
    let ticking = tokio::spawn(async move {
        loop {
            let _ended = alive.send(());
            sleep(Duration::from_millis(1)).await;
        }
    });
    let server = server(vec![Act::Serve(bytes.clone())]).await;
    // A pipe cannot be synced, so that it ends as flash that failed.
    assert_eq!(fetch(&folder, &offer(&[&server], &bytes)).await.0, Fetched::Failed(UpdateFailure::Storage));
    ticking.abort();
    assert!(flash.join().unwrap(), "the loop stood still while flash was written");
}

#[tokio::test]
async fn a_place_that_never_has_it_is_given_up_after_some_tries() {
    let (bytes, folder) = (artifact_bytes(), tempfile::tempdir().unwrap());
    let server = server(vec![Act::Status(503)]).await;
    let (fetched, found) = fetch(&folder, &offer(&[&server], &bytes)).await;
    assert_eq!((fetched, found), (Fetched::Failed(UpdateFailure::Download), None));
    assert_eq!(server.asked.lock().unwrap().len(), BARREN_TRIES_MAX as usize);
}

#[tokio::test]
async fn places_that_nobody_reaches_are_no_verdict_on_the_offer_however_often_they_are_tried() {
    let (bytes, folder) = (artifact_bytes(), tempfile::tempdir().unwrap());
    let server = server(vec![Act::Serve(bytes.clone())]).await;
    let mut offer = offer(&[&server], &bytes);
    // Nobody listens on the first port of a machine.
    offer.urls.splice(0..0, vec!["http://127.0.0.1:1/artifact".to_owned(); 3 * BARREN_TRIES_MAX as usize]);
    let mut http = HttpClient::new(None);
    let download = Download::new(&offer, folder.path(), Duration::ZERO);
    assert_eq!(download.fetch(&mut http).await, Fetched::Whole);
    assert_eq!(*server.asked.lock().unwrap(), [0]);
}

#[tokio::test]
async fn an_artifact_that_does_not_fit_is_not_begun() {
    let (bytes, folder) = (artifact_bytes(), tempfile::tempdir().unwrap());
    let server = server(vec![Act::Serve(bytes.clone())]).await;
    let huge = Offer { size: u64::MAX / 4, ..offer(&[&server], &bytes) };
    let (fetched, found) = fetch(&folder, &huge).await;
    assert_eq!((fetched, found), (Fetched::Failed(UpdateFailure::NoSpace), None));
    assert!(server.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_file_that_was_changed_after_it_was_verified_does_not_verify_again() {
    let (bytes, folder) = (artifact_bytes(), tempfile::tempdir().unwrap());
    let server = server(vec![Act::Serve(bytes.clone())]).await;
    let offer = offer(&[&server], &bytes);
    assert_eq!(fetch(&folder, &offer).await.0, Fetched::Whole);
    let download = Download::new(&offer, folder.path(), Duration::from_millis(1));
    assert!(download.verify().await.unwrap());
    fs::write(artifact(folder.path()), vec![7; bytes.len()]).unwrap();
    assert!(!download.verify().await.unwrap());
}

#[tokio::test]
async fn a_place_that_gives_a_byte_a_connection_is_given_up_as_one_that_gives_nothing() {
    let (bytes, folder) = (artifact_bytes(), tempfile::tempdir().unwrap());
    let server = server(vec![Act::Cut(bytes.clone(), 1)]).await;
    let (fetched, found) = fetch(&folder, &offer(&[&server], &bytes)).await;
    assert_eq!((fetched, found), (Fetched::Failed(UpdateFailure::Download), None));
    assert_eq!(server.asked.lock().unwrap().len(), BARREN_TRIES_MAX as usize);
}

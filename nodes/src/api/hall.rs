//! Where connections to the API are, from their first byte on: bounded in all and per address, and never shut.
//!
//! A connection costs a file, and a node that runs out of files cannot write its log. So whoever comes when all places are
//! taken takes one: that of the connection without a request under way that was used longest ago; if there is none, of the
//! oldest. Whoever lets data wait that it asked for is let go too.

use crate::crowd::{Bounds, Crowd, network_of};
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::Extensions;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Who does not take what was written for it within this time is let go.
const WRITE_WITHIN: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub(super) struct Hall(Arc<Inner>);

struct Inner {
    crowd: Mutex<Crowd<IpAddr, Arc<Guest>>>,
    /// Counts uses, to tell which was longest ago.
    uses: AtomicU64,
}

/// One connection, as others see it.
struct Guest {
    gone: CancellationToken,
    under_way: AtomicUsize,
    used: AtomicU64,
}

/// A connection's place; dropping it leaves.
pub(super) struct Place {
    hall: Hall,
    number: u64,
    guest: Arc<Guest>,
}

impl Hall {
    /// For so many connections; one address never takes more than half of the places.
    pub fn new(connections: usize) -> Self {
        let bounds = Bounds { all: connections, share: connections.div_ceil(2) };
        Hall(Arc::new(Inner { crowd: Mutex::new(Crowd::new(bounds)), uses: AtomicU64::new(0) }))
    }

    /// Takes a place; somebody else's, if there is none.
    pub fn enter(&self, address: IpAddr) -> Arc<Place> {
        let (gone, used) = (CancellationToken::new(), AtomicU64::new(self.next_use()));
        let guest = Arc::new(Guest { gone, under_way: AtomicUsize::new(0), used });
        let address = network_of(address);
        let mut crowd = self.0.crowd.lock();
        let rank = |guest: &Arc<Guest>| {
            (guest.under_way.load(Ordering::Relaxed) > 0, guest.used.load(Ordering::Relaxed))
        };
        if let Some(pushed_out) = crowd.make_room(address, rank) {
            pushed_out.gone.cancel();
        }
        let mut own = 0;
        crowd.enter(address, |number| {
            own = number;
            guest.clone()
        });
        Arc::new(Place { hall: self.clone(), number: own, guest })
    }

    fn next_use(&self) -> u64 {
        self.0.uses.fetch_add(1, Ordering::Relaxed)
    }
}

impl Place {
    /// The connection's bytes; they end once another took the place.
    pub fn guard<I>(&self, stream: I) -> Guarded<I> {
        Guarded { stream, gone: Box::pin(self.guest.gone.clone().cancelled_owned()), waits: None }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.hall.0.crowd.lock().leave(self.number);
    }
}

/// A request that is under way, until its answer's last byte is handed on.
struct Visit(Arc<Place>);

impl Visit {
    fn begin(extensions: &Extensions) -> Option<Visit> {
        let place = extensions.get::<Arc<Place>>()?.clone();
        place.guest.under_way.fetch_add(1, Ordering::Relaxed);
        Some(Visit(place))
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let Place { hall, guest, .. } = &*self.0;
        guest.used.store(hall.next_use(), Ordering::Relaxed);
        guest.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Notes that a connection is in use.
pub(super) async fn visit(request: Request, next: Next) -> Response {
    let visit = Visit::begin(request.extensions());
    next.run(request).await.map(|body| Body::new(Visited { body, _visit: visit }))
}

/// An answer's body; while it is handed on, its request is under way.
struct Visited {
    body: Body,
    _visit: Option<Visit>,
}

impl HttpBody for Visited {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that ends once its place is taken, or once its other end lets data wait for too long.
pub(super) struct Guarded<I> {
    stream: I,
    gone: Pin<Box<WaitForCancellationFutureOwned>>,
    waits: Option<Pin<Box<Sleep>>>,
}

impl<I> Guarded<I> {
    fn is_gone(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.gone.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::Error::from(io::ErrorKind::ConnectionAborted)),
            Poll::Pending => Ok(()),
        }
    }

    /// Passes on how a write went, and how long it may wait.
    fn timed<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waits = None;
            return written;
        }
        let waits = self.waits.get_or_insert_with(|| Box::pin(sleep(WRITE_WITHIN)));
        ready!(waits.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::from(io::ErrorKind::TimedOut)))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Guarded<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.is_gone(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Guarded<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.is_gone(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.timed(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_gone(cx)?;
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.timed(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.timed(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn request_of(place: &Arc<Place>) -> Visit {
        let mut extensions = Extensions::new();
        extensions.insert(place.clone());
        Visit::begin(&extensions).unwrap()
    }

    #[tokio::test]
    async fn who_comes_last_takes_the_place_that_was_used_longest_ago_and_is_not_in_use() {
        let hall = Hall::new(4);
        let places: Vec<_> = (0..4).map(|n| hall.enter(address(n))).collect();
        let in_use = request_of(&places[0]);
        drop(request_of(&places[1]));
        let is_gone = |n: usize| places[n].guest.gone.is_cancelled();
        let _new = hall.enter(address(9));
        assert!(!is_gone(0) && !is_gone(1) && is_gone(2) && !is_gone(3));
        drop(in_use);
        let _newer = hall.enter(address(8));
        assert!(!is_gone(0) && !is_gone(1) && is_gone(3), "the first was used last");
    }

    #[tokio::test]
    async fn one_address_pushes_out_its_own_whatever_they_do_and_never_all_others() {
        let hall = Hall::new(4);
        let operator = hall.enter(address(1));
        let crowd: Vec<_> = (0..50).map(|_| hall.enter(address(2))).collect();
        let busy: Vec<_> = crowd.iter().map(request_of).collect();
        let more: Vec<_> = (0..50).map(|_| hall.enter(address(2))).collect();
        assert!(!operator.guest.gone.is_cancelled());
        let here = crowd.iter().chain(&more).filter(|place| !place.guest.gone.is_cancelled()).count();
        assert_eq!(here, 2);
        drop(busy);
    }

    #[tokio::test]
    async fn a_connection_whose_place_is_taken_ends_at_once() {
        let hall = Hall::new(1);
        let place = hall.enter(address(1));
        let (near, mut far) = tokio::io::duplex(64);
        let mut stream = place.guard(near);
        let reads = tokio::spawn(async move { stream.read_u8().await });
        let _other = hall.enter(address(2));
        assert_eq!(reads.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(far.read(&mut [0]).await.unwrap(), 0, "the other end sees it closed");
    }

    #[tokio::test(start_paused = true)]
    async fn who_lets_an_answer_wait_is_let_go() {
        let hall = Hall::new(1);
        let (near, mut far) = tokio::io::duplex(64);
        let mut stream = hall.enter(address(1)).guard(near);
        stream.write_all(&[0; 64]).await.unwrap();
        let reads_late = async {
            tokio::time::sleep(WRITE_WITHIN / 2).await;
            far.read_exact(&mut [0; 64]).await.unwrap();
        };
        let (written, ()) = tokio::join!(stream.write_all(&[1; 64]), reads_late);
        written.unwrap();
        let error = stream.write_all(&[2; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}

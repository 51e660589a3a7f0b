//! Egress's end of the link to the dialer: it asks for a host of the policy and gets a connection. It opens no socket itself.

use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::dial_link::{ANSWER_BYTES_MAX, Answer, DialLink, DialLinkError, Question};
use crate::bounds::DIAL_ANSWER_WAIT_MS;
use crate::planted;

/// Why there is no upstream.
#[derive(Debug, Error)]
pub enum NoUpstream {
    /// A rule of ours, in the dialer's words.
    #[error("{0}")]
    Refused(String),
    /// A mishap of the network, in the dialer's words.
    #[error("{0}")]
    Failed(String),
    /// The dialer has hung up. The session ends.
    #[error("the dialer is gone")]
    Gone,
    /// No answer in [`DIAL_ANSWER_WAIT_MS`].
    #[error("the dialer did not answer in time")]
    Silent,
    /// The runtime does not take the connection.
    #[error("the connection cannot be used: {0}")]
    Unusable(#[from] io::Error),
}

impl NoUpstream {
    /// Whether this is a verdict of ours and not a mishap.
    #[must_use]
    pub const fn is_denial(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

/// Asks the dialer.
#[derive(Debug)]
pub struct Upstreams {
    link: Option<DialLink>,
    waiting: Mutex<Waiting>,
    tickets: AtomicU64,
}

/// Who waits for an answer; nobody can any more once the dialer is gone.
#[derive(Debug, Default)]
struct Waiting {
    by_ticket: HashMap<u64, oneshot::Sender<(Answer, Option<OwnedFd>)>>,
    is_over: bool,
}

impl Upstreams {
    /// Takes over egress's end; without one, every question is answered with [`NoUpstream::Gone`]. Call it inside the runtime.
    ///
    /// # Errors
    /// [`DialLinkError::Setup`].
    pub fn new(link: Option<OwnedFd>) -> Result<Self, DialLinkError> {
        if let Some(link) = &link {
            planted::dialer_is_at(link.as_raw_fd());
        }
        let link = link.map(DialLink::new).transpose()?;
        Ok(Self { link, waiting: Mutex::default(), tickets: AtomicU64::new(1) })
    }

    /// A connection to the policy's host number `host`, on one of its ports.
    ///
    /// # Errors
    /// [`NoUpstream`]; after it nothing is connected that anybody holds.
    pub async fn connect(&self, host: u16, port: u16) -> Result<TcpStream, NoUpstream> {
        let link = self.link.as_ref().ok_or(NoUpstream::Gone)?;
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let (tell, told) = oneshot::channel();
        {
            let mut waiting = self.waiting();
            if waiting.is_over {
                return Err(NoUpstream::Gone);
            }
            waiting.by_ticket.insert(ticket, tell);
        }
        let answered = async {
            link.send(&Question { ticket, host, port }.encode(), None).await.map_err(|_| NoUpstream::Gone)?;
            told.await.map_err(|_| NoUpstream::Gone)
        };
        let answer = timeout(Duration::from_millis(DIAL_ANSWER_WAIT_MS), answered).await;
        self.waiting().by_ticket.remove(&ticket);
        match answer.unwrap_or(Err(NoUpstream::Silent))? {
            (Answer::Connected, Some(fd)) => {
                let stream = std::net::TcpStream::from(fd);
                stream.set_nonblocking(true)?;
                Ok(TcpStream::from_std(stream)?)
            }
            (Answer::Refused(text), _) => Err(NoUpstream::Refused(text)),
            (Answer::Failed(text), _) => Err(NoUpstream::Failed(text)),
            (Answer::Connected, None) => Err(NoUpstream::Gone), // `hear` lets none through
        }
    }

    /// Hands out what the dialer answers. When the dialer hangs up, every question fails from there on and the monitor ends the
    /// session; this goes on, so that the log names the dialer and not egress.
    ///
    /// Ends only with the failure of the link, or with something on it that the dialer never sends.
    pub async fn hear(&self) -> DialLinkError {
        let heard = match &self.link {
            Some(link) => self.hear_all(link).await,
            None => Ok(()),
        };
        *self.waiting() = Waiting { is_over: true, ..Waiting::default() };
        match heard {
            Ok(()) => pending().await,
            Err(error) => error,
        }
    }

    async fn hear_all(&self, link: &DialLink) -> Result<(), DialLinkError> {
        let mut datagram = vec![0; ANSWER_BYTES_MAX + 1]; // one over shows
        loop {
            let (length, fd) = match link.receive(&mut datagram).await {
                Ok((0, _)) => return Ok(()),
                Ok(received) => received,
                Err(Errno::EBADMSG) => return Err(DialLinkError::NoAnswer),
                Err(errno) => return Err(errno.into()),
            };
            let (ticket, answer) = Answer::decode(&datagram[..length])?;
            if (answer == Answer::Connected) != fd.is_some() {
                return Err(DialLinkError::NoAnswer);
            }
            if ticket == 0 || ticket >= self.tickets.load(Ordering::Relaxed) {
                return Err(DialLinkError::Unasked(ticket));
            }
            // Nobody waits for an answer that comes too late: its connection is closed here.
            if let Some(tell) = self.waiting().by_ticket.remove(&ticket) {
                let _ = tell.send((answer, fd));
            }
        }
    }

    /// No holder of the lock can panic half-way through a change, so a poisoned one is as good as any.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsFd;
    use std::sync::Arc;

    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::egress::dial_link::{QUESTION_BYTES, pair};

    /// Egress's end, listening, and a dialer's end to speak from.
    fn linked() -> (Arc<Upstreams>, DialLink, tokio::task::JoinHandle<DialLinkError>) {
        let (ours, theirs) = pair().unwrap();
        let upstreams = Arc::new(Upstreams::new(Some(ours)).unwrap());
        let hearing = Arc::clone(&upstreams);
        (upstreams, DialLink::new(theirs).unwrap(), tokio::spawn(async move { hearing.hear().await }))
    }

    fn asks(upstreams: &Arc<Upstreams>, host: u16) -> tokio::task::JoinHandle<Result<TcpStream, NoUpstream>> {
        let upstreams = Arc::clone(upstreams);
        tokio::spawn(async move { upstreams.connect(host, 443).await })
    }

    async fn question(dialer: &DialLink) -> Question {
        let mut datagram = [0; QUESTION_BYTES];
        let (length, _) = dialer.receive(&mut datagram).await.unwrap();
        Question::decode(&datagram[..length]).unwrap()
    }

    #[tokio::test]
    async fn answers_find_their_questions_in_any_order() {
        let (upstreams, dialer, _hearing) = linked();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let all = [0, 1, 2].map(|host| asks(&upstreams, host));
        let mut questions = [question(&dialer).await, question(&dialer).await, question(&dialer).await];
        questions.sort_by_key(|question| question.host);
        let made = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let refused = Answer::Refused("not that".into()).encode(questions[2].ticket);
        dialer.send(&refused, None).await.unwrap();
        dialer.send(&Answer::Connected.encode(questions[1].ticket), Some(made.as_fd())).await.unwrap();
        dialer.send(&Answer::Failed("no road".into()).encode(questions[0].ticket), None).await.unwrap();
        let [failed, connected, refused] = all;
        let failed = failed.await.unwrap().unwrap_err();
        assert_eq!((failed.to_string().as_str(), failed.is_denial()), ("no road", false));
        let refused = refused.await.unwrap().unwrap_err();
        assert_eq!((refused.to_string().as_str(), refused.is_denial()), ("not that", true));
        let mut stream = connected.await.unwrap().unwrap();
        stream.write_all(b"x").await.unwrap();
        assert_eq!(stream.local_addr().unwrap(), made.local_addr().unwrap());
    }

    #[tokio::test]
    async fn without_a_dialer_every_question_fails_and_egress_goes_on() {
        let (upstreams, dialer, hearing) = linked();
        let waits = asks(&upstreams, 0);
        question(&dialer).await;
        drop(dialer);
        assert!(matches!(waits.await.unwrap(), Err(NoUpstream::Gone)));
        assert!(matches!(upstreams.connect(0, 443).await, Err(NoUpstream::Gone)));
        assert!(!hearing.is_finished(), "the monitor ends the session, for the dialer's sake");
        let nobody = Upstreams::new(None).unwrap();
        assert!(matches!(nobody.connect(0, 443).await, Err(NoUpstream::Gone)));
    }

    #[tokio::test]
    async fn what_a_dialer_never_says_ends_egress() {
        let (gift, _kept) = std::os::unix::net::UnixStream::pair().unwrap();
        let refused = |ticket| Answer::Refused("no".into()).encode(ticket);
        let cases = [
            (b"garbage".to_vec(), false, "what is no answer"),
            (vec![1; ANSWER_BYTES_MAX + 9], false, "what is no answer"),
            (Answer::Connected.encode(1), false, "what is no answer"),
            (refused(1), true, "what is no answer"),
            (refused(2), false, "question 2, which was never asked"),
            (refused(0), false, "question 0, which was never asked"),
        ];
        for (datagram, has_gift, word) in cases {
            let (upstreams, dialer, hearing) = linked();
            let waits = asks(&upstreams, 0);
            question(&dialer).await;
            dialer.send(&datagram, has_gift.then(|| gift.as_fd())).await.unwrap();
            let error = hearing.await.unwrap().to_string();
            assert!(error.contains(word), "{error}");
            assert!(waits.await.unwrap().is_err());
        }
    }

    #[tokio::test]
    async fn an_answer_that_comes_too_late_is_closed() {
        let (upstreams, dialer, hearing) = linked();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let made = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        tokio::time::pause();
        assert!(matches!(upstreams.connect(0, 443).await, Err(NoUpstream::Silent)));
        tokio::time::resume();
        let ticket = question(&dialer).await.ticket;
        dialer.send(&Answer::Connected.encode(ticket), Some(made.as_fd())).await.unwrap();
        drop(made);
        let (mut api, _) = tokio::task::spawn_blocking(move || listener.accept()).await.unwrap().unwrap();
        let end = tokio::task::spawn_blocking(move || std::io::Read::read(&mut api, &mut [0])).await.unwrap();
        assert_eq!(end.unwrap(), 0);
        assert!(!hearing.is_finished());
    }
}

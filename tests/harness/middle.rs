//! A source of streams between a receiver and the real source: it passes calls on message by
//! message, except those of the tablets that it has a script for.
//!
//! It stands where a proxy of the receiver's peer points to; see [`Cluster::stand_between`].

use super::Cluster;
use proto::stream::v1 as pb;
use proto::stream::v1::pull_request::Event as Asks;
use proto::stream::v1::pull_response::Event as Says;
use proto::stream::v1::stream_service_client::StreamServiceClient;
use proto::stream::v1::stream_service_server::{StreamService, StreamServiceServer};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status, Streaming};

/// One thing that the source does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Beat {
    /// Says that it serves the stream, with the copy that it really has.
    Accept,
    /// Says something else.
    Say(Says),
    /// Tells the test that the script is here.
    Tell,
    /// Waits.
    Pause(Duration),
    /// Goes on like this until the receiver hangs up.
    Hang,
    /// Ends the call in order, as a last message would.
    End,
}

/// Where a script is.
#[derive(Debug)]
pub(crate) struct Told {
    /// What the receiver asked for.
    pub(crate) begin: pb::Begin,
    /// When.
    pub(crate) at: Instant,
}

type Scripts = Arc<Mutex<HashMap<u64, Vec<Beat>>>>;

/// How often a source that waits says that it is there.
const ALIVE: Duration = Duration::from_millis(50);
/// Tellings that were not looked at.
const TOLD: usize = 256;

/// The source in between, until it is dropped.
pub(crate) struct Middle {
    scripts: Scripts,
    told: mpsc::Receiver<Told>,
    serving: JoinHandle<()>,
}

impl Drop for Middle {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Middle {
    /// Plays this to each call for a tablet from now on. What earlier scripts told is forgotten.
    pub(crate) fn play(&mut self, tablet: u64, script: Vec<Beat>) {
        while self.told.try_recv().is_ok() {}
        self.scripts.lock().unwrap_or_else(PoisonError::into_inner).insert(tablet, script);
    }

    /// Passes a tablet's calls on again.
    pub(crate) fn pass(&self, tablet: u64) {
        self.scripts.lock().unwrap_or_else(PoisonError::into_inner).remove(&tablet);
    }

    /// The next [`Beat::Tell`] of a script.
    pub(crate) async fn told(&mut self) -> Told {
        super::soon("a script to tell", self.told.recv()).await.expect("it serves")
    }
}

impl Cluster {
    /// Puts a source between a node and whoever pulls from it. The cluster has to have proxies.
    pub(crate) async fn stand_between(&self, source: &str) -> Middle {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port on loopback");
        let address = listener.local_addr().expect("it is bound").to_string();
        let (tell, told) = mpsc::channel(TOLD);
        let scripts = Scripts::default();
        let real = StreamServiceClient::new(self.channel(source, "stream"));
        let service = Between { real, scripts: Arc::clone(&scripts), tell };
        let service = StreamServiceServer::new(service).max_decoding_message_size(8 << 20);
        let serving = Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        let serving = tokio::spawn(async move { serving.await.expect("it serves") });
        let link = self.links().streams(source);
        link.set_upstream(&address);
        link.cut_all();
        Middle { scripts, told, serving }
    }
}

struct Between {
    real: StreamServiceClient<Channel>,
    scripts: Scripts,
    tell: mpsc::Sender<Told>,
}

type Answers = mpsc::Sender<Result<pb::PullResponse, Status>>;

fn said(says: Says) -> Result<pb::PullResponse, Status> {
    Ok(pb::PullResponse { event: Some(says) })
}

#[tonic::async_trait]
impl StreamService for Between {
    type PullStream = ReceiverStream<Result<pb::PullResponse, Status>>;

    async fn pull(
        &self,
        request: Request<Streaming<pb::PullRequest>>,
    ) -> Result<Response<Self::PullStream>, Status> {
        let mut requests = request.into_inner();
        let first = requests.message().await?;
        let Some(Asks::Begin(begin)) = first.and_then(|first| first.event) else {
            return Err(Status::internal("a receiver begins with begin"));
        };
        let script = {
            let scripts = self.scripts.lock().unwrap_or_else(PoisonError::into_inner);
            scripts.get(&begin.tablet).cloned()
        };
        let (answers, responses) = mpsc::channel(4);
        let real = self.real.clone();
        match script {
            None => {
                tokio::spawn(pass_on(real, begin, requests, answers));
            }
            Some(script) => {
                tokio::spawn(play(real, begin, script, requests, answers, self.tell.clone()));
            }
        }
        Ok(Response::new(ReceiverStream::new(responses)))
    }

    async fn get_outcome(
        &self,
        request: Request<pb::GetOutcomeRequest>,
    ) -> Result<Response<pb::GetOutcomeResponse>, Status> {
        self.real.clone().get_outcome(request.into_inner()).await
    }
}

/// Passes a call on in both directions, and its end.
async fn pass_on(
    mut real: StreamServiceClient<Channel>,
    begin: pb::Begin,
    mut requests: Streaming<pb::PullRequest>,
    answers: Answers,
) {
    let (asks, outbox) = mpsc::channel(4);
    let _room = asks.try_send(pb::PullRequest { event: Some(Asks::Begin(begin)) });
    let mut responses = match real.pull(ReceiverStream::new(outbox)).await {
        Ok(responses) => responses.into_inner(),
        Err(status) => {
            let _gone = answers.send(Err(status)).await;
            return;
        }
    };
    let asking = tokio::spawn(async move {
        while let Ok(Some(request)) = requests.message().await {
            if asks.send(request).await.is_err() {
                return;
            }
        }
    });
    while let Some(answer) = responses.message().await.transpose() {
        let is_last = answer.is_err();
        if answers.send(answer).await.is_err() || is_last {
            break;
        }
    }
    asking.abort();
}

async fn play(
    mut real: StreamServiceClient<Channel>,
    begin: pb::Begin,
    script: Vec<Beat>,
    mut requests: Streaming<pb::PullRequest>,
    answers: Answers,
    tell: mpsc::Sender<Told>,
) {
    for beat in script {
        match beat {
            Beat::Accept => {
                // The real source is asked, and hung up on: its answer is the real one.
                let begin = pb::PullRequest { event: Some(Asks::Begin(begin.clone())) };
                let (asks, outbox) = mpsc::channel(1);
                let _room = asks.try_send(begin);
                let called = real.pull(ReceiverStream::new(outbox)).await;
                let answer = match called {
                    Ok(called) => called.into_inner().message().await,
                    Err(status) => Err(status),
                };
                let Ok(Some(accepted)) = answer else {
                    let _gone = answers.send(Err(Status::internal("not accepted"))).await;
                    return;
                };
                let _gone = answers.send(Ok(accepted)).await;
            }
            Beat::Say(says) => {
                let _gone = answers.send(said(says)).await;
            }
            Beat::Tell => {
                // Who doesn't listen to all of them has heard enough.
                let _full = tell.try_send(Told { begin: begin.clone(), at: Instant::now() });
            }
            Beat::Pause(pause) => tokio::time::sleep(pause).await,
            Beat::Hang => {
                while !answers.is_closed() {
                    let alive = Says::KeepAlive(pb::KeepAlive { paused: true });
                    let _gone = answers.send(said(alive)).await;
                    tokio::select! {
                        () = tokio::time::sleep(ALIVE) => {}
                        _ended = requests.message() => return,
                    }
                }
                return;
            }
            Beat::End => return,
        }
    }
}

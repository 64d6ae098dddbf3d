//! A proxy between a journal and its server: redirects to another server, or cuts the connection when the reply of a function
//! arrives.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use tempfile::TempDir;

/// A proxy on a unix socket of its own.
pub struct Proxy {
    directory: TempDir,
    shared: Arc<Shared>,
}

struct Shared {
    target: Mutex<PathBuf>,
    /// Number of replies to withhold, each by cutting the connection.
    cuts: AtomicU64,
    /// The function whose replies are withheld.
    function: Mutex<String>,
    open: Mutex<Vec<UnixStream>>,
}

impl Proxy {
    /// A proxy to a server's socket.
    pub fn to(target: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("p")).unwrap();
        let shared = Arc::new(Shared {
            target: Mutex::new(target.into()),
            cuts: AtomicU64::new(0),
            function: Mutex::default(),
            open: Mutex::new(Vec::new()),
        });
        let serving = shared.clone();
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                serving.forward(client);
            }
        });
        Self { directory, shared }
    }

    pub fn url(&self) -> String {
        format!("unix://{}", self.directory.path().join("p").display())
    }

    /// Withholds the replies to the next appends.
    pub fn cut_replies(&self, count: u64) {
        self.cut_replies_to("invengine_append", count);
    }

    /// Withholds the replies to the next calls of a function.
    pub fn cut_replies_to(&self, function: &str, count: u64) {
        function.clone_into(&mut self.shared.function.lock().unwrap());
        self.shared.cuts.store(count, Ordering::SeqCst);
    }

    /// Whether all of them were withheld.
    pub fn has_cut(&self) -> bool {
        self.shared.cuts.load(Ordering::SeqCst) == 0
    }

    /// Redirects to another server from now on, and closes all open connections.
    pub fn redirect_to(&self, target: &Path) {
        *self.shared.target.lock().unwrap() = target.into();
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn forward(self: &Arc<Self>, client: UnixStream) {
        let target = self.target.lock().unwrap().clone();
        // A client whose server is unreachable sees a closed connection.
        let Ok(server) = UnixStream::connect(target) else { return };
        self.open.lock().unwrap().push(client.try_clone().unwrap());
        let cutting = Arc::new(AtomicBool::new(false));
        let (up, down) = (self.clone(), self.clone());
        let (from, to, marked) = (client.try_clone().unwrap(), server.try_clone().unwrap(), cutting.clone());
        thread::spawn(move || up.copy(from, to, |bytes| up.mark(bytes, &marked)));
        thread::spawn(move || down.copy(server, client, |_| !cutting.load(Ordering::SeqCst)));
    }

    /// Marks the connection if this is a call whose reply is withheld. The server receives the call in any case.
    fn mark(&self, bytes: &[u8], cutting: &AtomicBool) -> bool {
        let function = self.function.lock().unwrap().clone().into_bytes();
        let matches = !function.is_empty() && bytes.windows(function.len()).any(|window| window == function);
        let take_one = |cuts: u64| cuts.checked_sub(1);
        if matches && self.cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take_one).is_ok() {
            cutting.store(true, Ordering::SeqCst);
        }
        true
    }

    fn copy(&self, mut from: UnixStream, mut to: UnixStream, mut passes: impl FnMut(&[u8]) -> bool) {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if !passes(&buffer[..count]) || to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}

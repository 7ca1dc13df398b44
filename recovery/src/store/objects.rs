//! State in an object store, reached through a blocking facade.
//!
//! A segment of the log is a folder of numbered objects, one an append; read one after the other they are the segment. Whoever
//! calls drives the requests on a small runtime of one thread.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{Error as StoreError, GetOptions, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use tokio::runtime::{Builder, Runtime};

use super::files::too_long;
use super::objects_lease;
use super::{Claim, Segment, Store, Upload};
use crate::Error;
use crate::owner::Owner;
use crate::point::point;

/// So many objects are read at once.
const READS_AT_ONCE: usize = 16;
/// A large object is sent in pieces of this size (S3 takes none below 5 MB but the last).
const PIECE_BYTES: usize = 8 << 20;

/// State below a prefix of an object store. Clones share it.
#[derive(Clone)]
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    place: Arc<str>,
    runtime: Arc<Runtime>,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Objects").field(&self.place).finish()
    }
}

impl Objects {
    /// Wraps a store.
    pub(crate) fn new(store: Arc<dyn ObjectStore>, prefix: &str, place: &str) -> Result<Objects, Error> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| Error::unavailable(place, error))?;
        Ok(Objects { store, prefix: Path::from(prefix), place: place.into(), runtime: Arc::new(runtime) })
    }

    fn path(&self, path: &str) -> Path {
        self.prefix.parts().chain(Path::from(path).parts()).collect()
    }

    /// Waits for a request.
    fn wait<T>(&self, path: &str, request: impl Future<Output = object_store::Result<T>>) -> Result<T, Error> {
        self.runtime.block_on(request).map_err(|error| self.failed(path, error))
    }

    fn failed(&self, path: &str, error: StoreError) -> Error {
        let thing = format!("{}/{path}", self.place);
        match error {
            StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => {
                Error::setup(thing, error.to_string(), "check the credentials and what they permit")
            }
            StoreError::NotImplemented { .. } | StoreError::NotSupported { .. } => {
                Error::setup(thing, error.to_string(), "the state needs a store with conditional puts")
            }
            error => Error::unavailable(thing, error),
        }
    }

    /// Writes an object, over an existing one if need be.
    pub(super) fn put(&self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        let payload = PutPayload::from(bytes.to_vec());
        self.wait(path, self.store.put(&self.path(path), payload)).map(|_| ())
    }

    async fn read_one(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let failed = |error| self.failed(path, error);
        let found = match self.store.get(&self.path(path)).await {
            Err(StoreError::NotFound { .. }) => return Ok(None),
            other => other.map_err(failed)?,
        };
        if found.meta.size > limit {
            return Err(too_long(format!("{}/{path}", self.place), limit));
        }
        Ok(Some(found.bytes().await.map_err(failed)?.into()))
    }
}

impl Store for Objects {
    fn place(&self) -> &str {
        &self.place
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, Error> {
        let prefix = self.path(folder);
        let listing = self.store.list(Some(&prefix)).map_ok(|meta| meta.location).try_collect::<Vec<Path>>();
        let locations = self.wait(folder, listing)?;
        let relative = |path: &Path| {
            let parts: Vec<_> = path.prefix_match(&self.prefix)?.map(|part| part.as_ref().to_owned()).collect();
            Some(parts.join("/"))
        };
        let mut found: Vec<String> = locations.iter().filter_map(relative).collect();
        found.sort_unstable();
        Ok(found)
    }

    fn read(&self, paths: &[String], limit: u64) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let reads = stream::iter(paths).map(|path| self.read_one(path, limit)).buffered(READS_AT_ONCE);
        self.runtime.block_on(reads.try_collect())
    }

    fn read_range(&self, path: &str, range: Range<u64>) -> Result<Option<Vec<u8>>, Error> {
        let options = GetOptions::new().with_range(Some(range));
        let request = async {
            match self.store.get_opts(&self.path(path), options).await {
                Err(StoreError::NotFound { .. }) => Ok(None),
                other => other?.bytes().await.map(|bytes| Some(bytes.into())),
            }
        };
        self.wait(path, request)
    }

    fn length(&self, path: &str) -> Result<Option<u64>, Error> {
        let request = async {
            match self.store.head(&self.path(path)).await {
                Err(StoreError::NotFound { .. }) => Ok(None),
                other => other.map(|meta| Some(meta.size)),
            }
        };
        self.wait(path, request)
    }

    fn put_new(&self, path: &str, bytes: &[u8]) -> Result<bool, Error> {
        let request = async {
            let payload = PutPayload::from(bytes.to_vec());
            match self.store.put_opts(&self.path(path), payload, PutMode::Create.into()).await {
                Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => Ok(false),
                other => other.map(|_| true),
            }
        };
        // The client repeats a put whose reply was lost, and then finds its own object: what is there tells whose it is.
        Ok(self.wait(path, request)?
            || self.read(&[path.to_owned()], bytes.len() as u64).is_ok_and(|found| found[0].as_deref() == Some(bytes)))
    }

    fn delete(&self, path: &str) -> Result<(), Error> {
        let request = async {
            match self.store.delete(&self.path(path)).await {
                Err(StoreError::NotFound { .. }) => Ok(()),
                other => other,
            }
        };
        self.wait(path, request)
    }

    fn create(&self, path: &str) -> Result<Box<dyn Upload>, Error> {
        Ok(Box::new(Uploading { objects: self.clone(), path: path.to_owned(), waiting: Vec::new(), sending: None }))
    }

    fn segment(&self, path: &str, bytes: &[u8]) -> Result<Box<dyn Segment>, Error> {
        let mut segment = Pieces { objects: self.clone(), path: path.to_owned(), next: 0 };
        segment.put(bytes)?;
        Ok(Box::new(segment))
    }

    fn claim(&self, generation: u64, owner: &Owner) -> Result<Option<Box<dyn Claim>>, Error> {
        objects_lease::claim(self, generation, owner)
    }

    fn holder(&self, generation: u64) -> Result<Option<Owner>, Error> {
        objects_lease::holder(self, generation)
    }
}

/// A segment of the log as a folder of objects.
#[derive(Debug)]
struct Pieces {
    objects: Objects,
    path: String,
    next: u64,
}

impl Pieces {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let path = format!("{}/{:020}", self.path, self.next);
        if !self.objects.put_new(&path, bytes)? {
            return Err(Error::Order(format!("{}/{path} is there already", self.objects.place)));
        }
        self.next += 1;
        Ok(())
    }
}

impl Segment for Pieces {
    fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.put(bytes)?;
        point!("log::after_write");
        Ok(())
    }
}

/// A large object being sent: at once if it stays small, otherwise piece by piece.
#[derive(Debug)]
struct Uploading {
    objects: Objects,
    path: String,
    waiting: Vec<u8>,
    sending: Option<Box<dyn MultipartUpload>>,
}

impl Uploading {
    fn send_piece(&mut self) -> Result<(), Error> {
        let piece = PutPayload::from(std::mem::take(&mut self.waiting));
        let location = self.objects.path(&self.path);
        let request = async {
            let sending = match &mut self.sending {
                Some(sending) => sending,
                none => none.insert(self.objects.store.put_multipart(&location).await?),
            };
            sending.put_part(piece).await
        };
        self.objects.wait(&self.path, request)
    }
}

impl Upload for Uploading {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= PIECE_BYTES { self.send_piece() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> Result<(), Error> {
        if self.sending.is_none() {
            return self.objects.put(&self.path, &self.waiting);
        }
        if !self.waiting.is_empty() {
            self.send_piece()?;
        }
        let Some(mut sending) = self.sending.take() else { return Ok(()) };
        let done = self.objects.wait(&self.path, sending.complete());
        if done.is_err() {
            self.sending = Some(sending);
        }
        done.map(|_| ())
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        if let Some(mut sending) = self.sending.take() {
            // Pieces of an upload that is never completed cost money until the bucket's own rules remove them.
            let _ = self.objects.wait(&self.path, sending.abort());
        }
    }
}

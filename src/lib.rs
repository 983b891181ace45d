//! Pillarbox: hands out signed upload forms, is itself the slot they are posted through, and speaks S3 to read and write what it keeps.
//!
//! One program: a bearer-token REST API that starts upload sessions, the form post that the sessions' forms are posted to, the S3 dialect
//! in which the same objects are read and written, a store on plain files with a rebuildable index, and download links. No S3 behind it, no
//! second service.
//!
//! # Floors
//!
//! A file may use its own floor and those below it, never above; `tests/house.rs` keeps this true.
//!
//! ```text
//! main, cli        arguments, wiring, the only exit()
//! config           TOML, environment, flags -> the option structs that the floors below define
//! server           sockets, TLS, systemd, drain              knows connections, not requests
//! api              requests in, answers out, the dialects    knows HTTP, not files
//! store | policy   bytes on disk | signed permission         neither knows HTTP, nor the other
//! model            the words we share                        no I/O, no async, no clock
//! ```
//!
//! # Invariants
//!
//! * A 2xx on a chunk, an object or a session is sent only after its bytes and its record are on stable storage; the record of
//!   a small new object may be the label on its file.
//! * A reader sees a whole object or none, the old one or the new one, never a mixture.
//! * A byte of a file is kept only under a [`policy::Grant`], and only [`policy::authorize`] makes one; or for a request that was
//!   proven, and only [`policy::RequestClaim::verify`] proves one.
//! * Nothing is committed before the closing delimiter of its form was seen.
//! * An object is absent from the moment it expires, before any sweep; one that a lifecycle rule lets go, from the sweep that takes it.
//! * The client's names never become paths: files carry our ids.
//! * Time is an argument everywhere; the one clock is [`api::app::Clock`], and tests set it. The store adds what it took
//!   itself since it was told, where that may be hours.
//! * Every list, buffer, field, queue and wait has a named maximum with its unit.
//! * Tokens, policies, signatures and secrets never reach a log, nor what an error shows there. In an answer a client whose signature does
//!   not match finds, as at Amazon, only what it sent itself and the text that it should have signed; an explanation shows the policy of
//!   its form, and no signature, token or secret. A cause goes to the log, never to a client.
//! * Deliberately absent: a temporary file, a rename of an upload in the usual case, a channel between network and disk (a chunk's
//!   lane and hasher may lag behind, by seven batches at most).
//!
//! # The road of one chunk
//!
//! ```text
//! 1 server  TLS record -> body frame
//! 2 api     guard -> multipart parser; fields first: PostForm -> authorize() -> Grant
//! 3 api     post_object: still within the Grant's size? writer.write(bytes)
//! 4 store    the assembler gathers a batch, which one blocking job writes, and another hashes, while the next is gathered
//! 5 store   commit(): length and digests right? -> sync the bytes -> receipt into the index, durable
//! 6 api     201, 200, 204 or 303, as the form asked
//! ```
//!
//! # Where do I change ...
//!
//! | what | where |
//! | --- | --- |
//! | a path of the surface | `api/route.rs`, then the match in `api/dispatch.rs` |
//! | a REST resource | its file in `api/`: `uploads`, `files`, `downloads`, `pipelines`, `tokens` |
//! | an error's status, code or words | one row of `api/error.rs` |
//! | how answers are written | `api/dialect.rs`; for form posts `api/post_answer.rs` and `post_refusal.rs` |
//! | what a form may do | `policy/evaluate.rs`; its grammar `policy/document.rs` |
//! | what a field of a form means | `policy/fields.rs`; tags `policy/tagging.rs`, checksums `policy/checksum.rs` |
//! | what an object has besides its bytes | `model/object.rs`; what of it can be changed, `store/change.rs`; how downloads show it, `api/stored_headers.rs` |
//! | what our own forms say | `policy/issue.rs` |
//! | an S3 operation | its file in `api/s3/`; which one a request is, `api/s3/mod.rs` |
//! | what a limited access key may do | `model/key_limits.rs`; what a request wants, `api/s3/access.rs` |
//! | which requests may carry a form | `api/form_gate.rs` |
//! | uploads in parts | `api/s3/multipart.rs`, `part.rs`, `complete.rs`, `uploads.rs`; the seam `store/parts.rs`; how they end, `store/embedded/parts.rs` |
//! | what everybody may read | `api/s3/anonymous.rs`; what access lists there are `api/s3/acl.rs` |
//! | what a bucket can be set to | `model/settings.rs`; over S3 `api/s3/settings.rs`, `bucket_cors.rs`, `lifecycle.rs` |
//! | when lifecycle rules let something go | `model/lifecycle.rs`; the walk that does it `store/embedded/lifecycle.rs` |
//! | who may sign a request, and what is signed | `policy/request.rs`; the canonical texts `policy/canonical.rs`, of the query `policy/query.rs`; keys that were derived `policy/derived_keys.rs` |
//! | how an S3 body comes | `api/s3/payload.rs`; its chunks `api/s3/aws_chunked.rs`, its trailer `api/s3/trailer.rs` |
//! | conditions of writes | read by `api/s3/condition.rs`, judged by `store/condition.rs` |
//! | answers that take long | `api/s3/keep_alive.rs` |
//! | which parameters an S3 request may have | `api/s3/query.rs` |
//! | limits of the multipart framing | `api/framing.rs`; how they are kept, `api/scanner.rs` |
//! | how chunks find their index | `api/chunk_target.rs`; other uploaders' fields `uploader_chunks.rs` |
//! | what an uploader may add to a session's form | `policy/uploader.rs`; the forms ready for it `api/client_form.rs` |
//! | the answers that an uploader wants | `api/answer_style.rs`; what it asks in a query `api/uploader_query.rs` |
//! | how a form is read | `api/form_reader.rs` |
//! | what a refused form is told | `policy/explain.rs`; the likely causes `policy/cause/` and `api/explain/cause/` |
//! | how text of others is shown to a terminal | `model/printable.rs` |
//! | what an explanation must not show | `policy/mask.rs` |
//! | how long explanations are kept, and how many | `api/explain/kept.rs` |
//! | how a session ends | `store/embedded/closing.rs`; how it is aborted, `abort.rs`; how its object is made whole, `complete.rs`; when that is tried again, `retry.rs`; what is done to its file, `folding.rs`; what its chunks say together, `receipts.rs` |
//! | where a chunk's bytes go | `store/embedded/placing.rs`, carried out in `lane.rs`; how they are moved, `copying.rs`; how they are gathered, `assembler.rs`; in which memory, `buffers.rs`, `reserve.rs` |
//! | what is on disk | `store/embedded/disk.rs`, `label.rs`; the index `store/embedded/index.rs`, its records `records.rs`, `tagged.rs`; what of it is read before it is opened, `index/look.rs` |
//! | lists of files, how they are sorted | `store/embedded/list.rs`; those of one pipeline, `by_pipeline.rs`; by key, `store/embedded/keys.rs`; of uploads in parts, `uploads.rs` |
//! | how many tokens an application may have | `store/catalog.rs`; which go for another one, `store/embedded/by_application.rs` |
//! | whose a data folder may be | `cli/ownership.rs`; how its files are opened, `store/embedded/disk/open.rs` |
//! | what of the catalog is kept in memory | `store/embedded/known.rs`; when it counts no more, `index/versions.rs` |
//! | which small objects are kept in memory, and how much | `store/embedded/hot.rs`; how they are read and checked, `reader.rs` |
//! | another engine | a folder beside `store/embedded/`; it passes `tests/store_contract.rs` |
//! | what is special about a bucket, or which region counts | `config/buckets.rs`; whose cross-origin rules apply, `api/address.rs` |
//! | how many connections are let in, and how many streams each | `server/capacity.rs`; who gives way when there is no room, `server/crowd.rs`; how much each reads at a time, `server/reading.rs`; how slowly it may take answers, `server/taking.rs`; what its bodies and answers tell of it, `server/awaited.rs`, `server/owed.rs` |
//! | how much memory lists and bodies that are whole take together | `api/documents.rs` |
//! | how many lists are put together at a time | `api/turns.rs` |
//! | which uploads are let in, and which give way | `api/admission.rs` |
//! | when an index job is synced and answered | `store/embedded/index/committer.rs` |
//! | what a label alone acknowledges | `store/embedded/recent.rs`; how it is found after a crash, `orphans.rs` |
//! | which of two buckets of one name an upload began in | `store/embedded/eras.rs` |
//! | a command | its file in `cli/` |
//! | a setting | `config.rs`, and the option struct of the floor that uses it |
//!
//! # Where measuring or use decided otherwise than the design
//!
//! * A chunk is hashed by a task beside the one that writes it, each with a queue of its own (`store/embedded/batches.rs`). One job that
//!   did both had to add the write (0.7 ms for 1 MiB) to MD5 (2 ms); and a lane that took a batch only from the hand of the task that
//!   gathers stood still for 0.6 ms of each. MD5 comes from
//!   `md5-simd`: 660 to 720 MB/s on one core where the `md-5` crate does 530 to 550; both are compared in a test.
//! * Batches of 256 KiB and more go past the page cache (`O_DIRECT`, `store/embedded/disk/direct.rs`), so the file has no place of its own there
//!   until it is read: 2.7 to 2.9 s of processor time for a GiB where it had been 3.5 to 3.8. From common memory this was slower than the cache on
//!   some days (a post of 1 GiB took 4.2 to 5.3 s, 2.9 to 3.7 through the cache) and faster on others: a request names each 4 KiB that do not
//!   lie one behind the other in the machine's memory, 254 at most, and the virtual disk took 2.4 s for 1 GiB of such and 0.5 s from huge pages,
//!   whatever was in flight. So uploads are gathered in huge pages first (`store/embedded/reserve.rs`; few large ones find room there), up to
//!   8 MiB of few may be on their way, and there is a sync every 16 MiB of a chunk that goes that way, since a flush of that disk takes 1.4 s for a GiB and
//!   it does nothing else meanwhile. A post of 1 GiB takes 2.8 s now (2.75 to 2.86), in turns with 2.8 (2.56 to 2.79) through the cache (by the
//!   bench 0.81, 0.78 to 1.06, of its rate); chunks of
//!   8 MiB, one and four at a time, take 0.79 and 0.85 of the time that they took through it. Four at a time are not faster than one post on that disk, which
//!   is busy for 2.4 of their 2.9 s; a sync beside the writes, every 2 or 4 MiB, or none before the last, made no difference (2.9 to 3.1 s). With the data in memory
//!   they are (1.94 and 2.14 s, in turns), with both cores busy. What is smaller goes through the cache and,
//!   from the second MiB of a chunk on, is sent on to the disk batch by batch (`posix_fadvise`).
//! * That sync is done between two writes, not beside them as it once was: of two syncs of one open file the kernel tells an error to one only,
//!   and the last one, which is answered for, might not be that one.
//! * What arrives is copied into memory of the store's own, 64 KiB a piece, that is used again (`store/embedded/buffers.rs`). A batch used to be slices
//!   of the parser's buffers, of every size, each alive as long as its disk was slow: 64 uploads of 16 MiB at once, crowd after crowd, left 65, 79, 87, 100
//!   and 107 MiB resident, a second allocator (jemalloc) 128 to 352. With these pieces, and what a connection reads at a time shared out at each read
//!   (`server/reading.rs`; a share for life left the first of a crowd with buffers four times as large), it is 47 to 49 after six of them, and 42 to 58 at their peaks. Pieces lie in memory as they
//!   will in their file, so the copy that a direct write needed before is this one.
//! * 256 threads at most wait for disks: each blocking job that found no idle thread started one, and 64 uploads had all 512 that are usual. A task
//!   is called for the batches of a chunk only when none was called that has not begun.
//! * A form's first packet is not copied for each of its heads (`api/scanner.rs`): with a file of 64 KiB that was 1.3 MB. A post of 64 KiB takes a seventh less
//!   processor time by this and the above (17.2 and 20.2 s a GiB, in turns).
//! * An object of at most 1 MiB that comes in one piece under a new key is acknowledged when its file and label are synced, and
//!   not after a second sync of the index: the label says all that the record says, and a start after a crash looks at the files
//!   that were made since the last sync, compares their bytes, and names them before it serves (`store/embedded/recent.rs`). It
//!   halves the syncs of a small object. What replaces an object, every larger one and every chunk is still synced in the index.
//! * The jobs that wait for the index are one batch of sled and one sync: a batch costs two writes of its log and many turns of
//!   its threads. With 32 posts of 64 KiB at once no gain was seen (1,145 to 1,357 a second against 1,061 to 1,589): most groups
//!   are of one job there.
//! * What ends with a label ends in `fsync`, not `fdatasync`, also on a file that was just created: ext4 lets the latter carry extended
//!   attributes only along with blocks or a length that are not in its journal yet. Without it 2 of 60 power cuts, each when the last answer
//!   was out, lost an object of 512 KiB or 1 MiB.
//! * The guard allows 20,480 bytes before the file's content, Amazon's limit to the byte, and as many again after it: a form
//!   that fills the first exactly must still be able to close.
//! * A read of at most 128 KiB that the kernel has in memory is done on the thread that sends it; with a checksum that runs
//!   along, a download of 64 KiB went from 460 to 130 microseconds of processor time (the two were not measured apart). Anything that would wait for the disk still goes to a blocking job.
//! * What was read of the catalog is kept, decoded, until the catalog changes (`store/embedded/known.rs`): a GET over S3 asks it for a key, a
//!   bucket and two settings. With that, blocks of 64 KiB that are used again, and the release built as one crate, a GET of 64 KiB over S3
//!   takes a fifth less processor time (in turns, beside other work: 149 and 124 microseconds before, 121 and 95 after; 133 to 144 and 103 to 125 by the
//!   one crate alone). What was left was flat: 43 % of it in the kernel, 16 % in the allocator and in copying, 5 % CRC64NVME.
//! * So small objects that are read often are kept (`store/embedded/hot.rs`), with their checksum compared and their record decoded: 115 and 136 microseconds
//!   before, 81 and 84 after, in turns beside other work. And what a signature is over is written without a copy of each piece: 6.9 to 4.9 microseconds for
//!   claim and proof of a presigned URL (`benches/request_check.rs`), a fifth fewer instructions for the whole answer.
//! * The allocator stays that of the C library. mimalloc takes a tenth less processor time for a small GET and a quarter to a half less for a page of
//!   folders, but keeps what it once had: after the same puts and gets 192 MiB were resident instead of 65, and with its huge pages 54 MiB when idle
//!   instead of 10 (without them 11).
//! * A page of folders seeks once for each folder, and reads one leaf of the index there, in up to ten pieces. No second list of names beside the
//!   records was made for it: each write would pay for it, and it would be one more thing to be wrong after a crash.
//! * A session is named in its policy by the condition `["starts-with","$x-pillarbox-upload-<id>",""]`, so that
//!   `form_post_params` needs no member that the hosted API does not have.
//! * `catalog.json` leaves out tokens that were issued to applications: they live an hour, and a client that gets 403 fetches
//!   another.
//! * Ten tags of full length are 15 KiB and a value of the index at most 4: an object's tags and parts that do not fit its record are
//!   cut into values beside it. Its label, which is not bounded so, holds them whole.
//! * The end of an S3 upload in parts is answered when the object is there, with a status that is true: parts of one size lie where they
//!   belong. Parts that are not of one size are copied once, and only when that takes more than 10 s does the client hear blanks behind
//!   a 200, as from Amazon.
//! * Lifecycle rules are not entered into the index of expiry: a rule may be set, changed or removed when its objects are there already. One walk a day over
//!   the buckets that have rules reads each object's record as it is, costs nothing where objects are written, and needs no index to be rebuilt.
//! * After the index was rebuilt, files of unfinished uploads stay where they are and are counted in the log: nothing is
//!   deleted because an index does not know it.

pub mod api;
pub mod cli;
pub mod config;
pub mod model;
pub mod policy;
pub mod server;
pub mod store;

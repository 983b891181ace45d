//! The command line, as an operator and a developer use it: the real binary, its exit codes and its words.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

#[path = "support/form.rs"]
mod form;
mod process;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use form::{Form, SECRET, content_type};
use process::{Server, eventually, hold_lock, pillarbox, run, stderr, stdout};
use rustix::process::Signal;

const PIPELINE: &str = "547f3eede4b025bcbff38657";

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    stdout(output).trim_end().to_owned()
}

fn failed(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", stdout(output));
    stderr(output)
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for arguments in [
        &["serve", "--nonsense"][..],
        &["token", "revoke"],
        &["--set", "no-equals-sign"],
    ] {
        assert_eq!(run(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn who_asks_of_a_store_that_is_not_there_is_told_and_makes_none() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("typo");
    for verb in [
        &["verify"][..],
        &["reindex"],
        &["token", "list"],
        &["key", "list"],
        &["pipeline", "list"],
        &["path", "uploads/a"],
    ] {
        let asked = pillarbox().args(verb).arg("--data").arg(&data).output();
        let said = failed(&asked.unwrap());
        assert!(said.contains("there is no store in"), "{verb:?}: {said}");
        assert!(!data.exists(), "{verb:?}");
    }
}

#[test]
fn what_check_config_prints_can_be_used_as_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        done(&run(&["check-config", "--config", file.to_str().unwrap()]))
    };
    let rules = (0..12).map(|number| {
        format!("[[bucket.cors]]\norigins = ['https://{number}.example.com']\nmethods = ['GET']\n")
    });
    let rules = rules.collect::<String>();
    let text = format!("[[bucket]]\nname = 'many'\n{rules}[[bucket]]\nname = 'none'\ncors = []\n");
    let first = check("first.toml", &text);
    assert!(first.contains("cors = []"), "{first}");
    let places: Vec<_> = (0..12)
        .map(|number| first.find(&format!("//{number}.example")).unwrap())
        .collect();
    assert!(places.is_sorted(), "{first}");
    // Where each comes from is another place then.
    let settings = |text: &str| -> Vec<String> {
        let lines = text.lines().map(|line| line.split(" # ").next());
        lines
            .flatten()
            .map(|line| line.trim_end().to_owned())
            .collect()
    };
    assert_eq!(settings(&check("second.toml", &first)), settings(&first));
}

#[test]
fn what_others_named_does_not_talk_to_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let evil = "\u{1b}]0;owned\u{7}\nforged";
    let create = ["pipeline", "create", "--data", data, "--description", evil];
    done(&run(&[&create[..], &["Films"]].concat()));
    let listed = done(&run(&["pipeline", "list", "--data", data]));
    assert_eq!(listed.lines().count(), 2, "{listed:?}");
    assert!(
        listed.contains("owned") && !listed.contains('\u{1b}'),
        "{listed:?}"
    );
}

#[test]
fn every_mistake_of_a_configuration_is_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pillarbox.toml");
    let text = "[server]\nlisten = \"nowhere\"\nlistn = 1\n[uploads]\nform_lifetime = \"soon\"\nbucket = \"NO\"\n\
                [store]\nengine = \"tape\"\n[tls]\ncertificate = \"c.pem\"\n[[site]]\nnetworks = [\"10.0.0.0/99\"]\n\
                form_post_url = \"ftp://x/\"\n[tsl]\nx = 1\n";
    fs::write(&file, text).unwrap();
    let said = failed(&run(&["check-config", "--config", file.to_str().unwrap()]));
    for key in [
        "server.listen: \"nowhere\"",
        "server.listn: no such setting",
        "uploads.form_lifetime: \"soon\"",
        "uploads.bucket: ",
        "store.engine: ",
        "tls.private_key: ",
        "site[0].networks: \"10.0.0.0/99\"",
        "site[0].form_post_url: \"ftp://x/\"",
        "tsl.x: no such setting",
    ] {
        assert!(said.contains(key), "{key} is not in:\n{said}");
    }
}

#[test]
fn a_file_that_is_no_toml_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pillarbox.toml");
    fs::write(&file, "[server]\nlisten = \n").unwrap();
    let said = failed(&run(&["check-config", "--config", file.to_str().unwrap()]));
    assert!(said.contains("line 2"), "{said}");
}

#[test]
fn a_named_file_that_is_missing_is_a_mistake() {
    let said = failed(&run(&[
        "check-config",
        "--config",
        "/nonexistent/pillarbox.toml",
    ]));
    assert!(said.contains("/nonexistent/pillarbox.toml"), "{said}");
}

#[test]
fn a_settings_file_without_a_length_is_read_up_to_the_limit_only() {
    let mut command = pillarbox();
    command.args(["check-config", "--config", "/dev/stdin"]);
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    // One comment, of one byte too many; the program may go before it has read all.
    let writer = std::thread::spawn(move || pipe.write_all(&vec![b'#'; 1024 * 1024 + 1]));
    let said = failed(&child.wait_with_output().unwrap());
    assert!(said.contains("more than 1048576 bytes"), "{said}");
    let _written = writer.join().unwrap();
}

#[test]
fn flags_beat_the_environment_which_beats_the_file_which_beats_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pillarbox.toml");
    fs::write(&file, "[server]\nlisten = \"127.0.0.1:1\"\n").unwrap();
    let shown = |flag: bool, environment: bool, with_file: bool| {
        let mut command = pillarbox();
        command.arg("check-config");
        if flag {
            command.args(["--listen", "127.0.0.1:3"]);
        }
        if environment {
            command.env("PILLARBOX_SERVER_LISTEN", "127.0.0.1:2");
        }
        if with_file {
            command.arg("--config").arg(&file);
        }
        let text = done(&command.output().unwrap());
        let line = text
            .lines()
            .find(|line| line.starts_with("listen = "))
            .unwrap()
            .to_owned();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(shown(true, true, true), "listen = \"127.0.0.1:3\" # flag");
    assert_eq!(
        shown(false, true, true),
        "listen = \"127.0.0.1:2\" # environment"
    );
    assert_eq!(shown(false, false, true), "listen = \"127.0.0.1:1\" # file");
    assert_eq!(
        shown(false, false, false),
        "listen = \"127.0.0.1:7080\" # default"
    );
}

#[test]
fn the_shown_configuration_is_a_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let first = done(&run(&[
        "check-config",
        "--set",
        "cors.origins=https://a.example,https://b.example",
    ]));
    let file = folder.path().join("shown.toml");
    fs::write(&file, &first).unwrap();
    let second = done(&run(&["check-config", "--config", file.to_str().unwrap()]));
    let values = |text: &str| -> Vec<String> {
        text.lines()
            .map(|line| line.split(" # ").next().unwrap().trim_end().to_owned())
            .collect()
    };
    assert_eq!(values(&first), values(&second));
}

#[test]
fn a_missing_certificate_is_named_by_check_config() {
    let said = failed(&run(&[
        "check-config",
        "--certificate",
        "/nonexistent.pem",
        "--private-key",
        "/nonexistent.key",
    ]));
    assert!(said.contains("/nonexistent.pem"), "{said}");
}

#[test]
fn a_key_with_a_passphrase_is_told_as_such_with_what_decrypts_it() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    fs::write(&certificate, made.cert.pem()).unwrap();
    let check = |text: &str| {
        fs::write(&key, text).unwrap();
        let [certificate, key] = [&certificate, &key].map(|path| path.to_str().unwrap());
        let files = ["--certificate", certificate, "--private-key", key];
        let said = failed(&run(&[&["check-config"][..], &files].concat()));
        assert!(said.contains(key), "{said}");
        said
    };
    for encrypted in [
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        "-----BEGIN RSA PRIVATE KEY-----\r\nProc-Type: 4,ENCRYPTED\r\nDEK-Info: AES-256-CBC,00\r\n\r\nAAAA\r\n\
         -----END RSA PRIVATE KEY-----\r\n",
    ] {
        let said = check(encrypted);
        assert!(said.contains("encrypted with a passphrase"), "{said}");
        assert!(said.contains("openssl pkey -in"), "{said}");
    }
    let said = check("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    assert!(said.contains("no private key in PEM"), "{said}");
    let said = check("-----BEGIN PRIVATE KEY-----\nAAAA\n");
    assert!(
        said.contains("cut off: -----END PRIVATE KEY----- is"),
        "{said}"
    );
}

#[test]
fn the_shipped_settings_file_is_valid_and_shows_the_defaults() {
    let shipped = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("systemd/pillarbox.toml");
    let text = fs::read_to_string(shipped).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.toml");
    // With every line uncommented but those that are examples and no defaults.
    let examples = [
        "#public_url",
        "#hosts",
        "#certificate",
        "#private_key",
        "#form_post_url",
    ];
    // A table of a list is an example with all its lines.
    let mut in_example = false;
    let uncommented = text.lines().map(|line| {
        in_example = line.starts_with("#[[") || in_example && !line.starts_with('[');
        let is_example = in_example || examples.iter().any(|name| line.starts_with(name));
        match line.strip_prefix('#') {
            Some(setting) if !line.starts_with("# ") && !is_example => setting,
            _ => line,
        }
    });
    fs::write(&file, uncommented.collect::<Vec<_>>().join("\n")).unwrap();
    let shown = done(&run(&["check-config", "--config", file.to_str().unwrap()]));
    let defaults = done(&run(&["check-config", "--data", "/var/lib/pillarbox"]));
    let values = |text: &str| -> Vec<String> {
        let settings = text.lines().map(|line| line.split(" # ").next().unwrap());
        settings.map(|line| line.trim_end().to_owned()).collect()
    };
    assert_eq!(values(&shown), values(&defaults));
}

#[test]
fn what_check_config_shows_of_buckets_can_be_a_settings_file_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pillarbox.toml");
    let check = || done(&run(&["check-config", "--config", file.to_str().unwrap()]));
    let bucket = "[[bucket]]\nname = 'drop'\nacl = 'public-read-write'\n[[bucket.cors]]\norigins = ['*']\nmethods = ['POST']\n";
    fs::write(&file, format!("[store]\ndata = 'box'\n{bucket}")).unwrap();
    let shown = check();
    assert!(shown.contains("[[bucket.cors]]"), "{shown}");
    let values = shown.lines().map(|line| line.split(" # ").next().unwrap());
    fs::write(&file, values.collect::<Vec<_>>().join("\n")).unwrap();
    let again = check();
    for line in [
        "name = \"drop\"",
        "acl = \"public-read-write\"",
        "methods = [\"POST\"]",
    ] {
        assert!(again.contains(line), "{again}");
    }
}

#[test]
fn an_unknown_name_in_the_environment_is_a_warning() {
    let mut command = pillarbox();
    command
        .arg("check-config")
        .env("PILLARBOX_SERVER_LISTN", "x");
    assert!(done(&command.output().unwrap()).contains("PILLARBOX_SERVER_LISTN"));
}

#[test]
fn tokens_are_made_listed_and_revoked_whether_the_server_runs_or_not() {
    let server = Server::serve(&[]);
    let running = done(&server.verb(&["token", "create", "--name", "made while running"]));
    assert_eq!(server.get_with_token("/v1/files/", &running).0, 200);

    let folder = server.stop();
    let data = folder.path().join("data");
    let stopped = run(&[
        "token",
        "create",
        "--name",
        "made while stopped",
        "--data",
        data.to_str().unwrap(),
    ]);
    let stopped = done(&stopped);

    let server = Server::serve_in(folder, &[]);
    let listed = done(&server.verb(&["token", "list"]));
    assert!(
        !listed.contains(&running) && !listed.contains(&stopped),
        "a list shows no secret"
    );
    for (name, token) in [
        ("made while running", &running),
        ("made while stopped", &stopped),
    ] {
        assert_eq!(server.get_with_token("/v1/files/", token).0, 200, "{name}");
        let line = listed.lines().find(|line| line.contains(name)).unwrap();
        let id = line.split_whitespace().next().unwrap();
        done(&server.verb(&["token", "revoke", id]));
        assert_eq!(server.get_with_token("/v1/files/", token).0, 403, "{name}");
    }
}

#[test]
fn an_application_gets_a_token_and_loses_it_with_its_credentials() {
    let server = Server::serve(&[]);
    let made = done(&server.verb(&["token", "create", "--application", "--name", "encoder"]));
    let member = |name| {
        made.lines()
            .find_map(|line: &str| line.strip_prefix(name))
            .unwrap()
            .trim()
            .to_owned()
    };
    let (id, secret) = (member("client_id"), member("client_secret"));
    let ask = || {
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", &id)
            .append_pair("client_secret", &secret)
            .finish();
        server.request(&format!(
            "POST /v1/oauth2/token/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    };
    assert_eq!(ask().0, 200);
    assert!(!done(&server.verb(&["token", "list"])).contains(&secret));
    done(&server.verb(&["token", "revoke", &id]));
    assert_ne!(ask().0, 200);
}

#[test]
fn revoking_what_is_not_there_fails_with_a_reason() {
    let server = Server::serve(&[]);
    let said = failed(&server.verb(&["token", "revoke", "0123456789abcdef01234567"]));
    assert!(
        said.starts_with("pillarbox: ") && said.trim_end().lines().count() == 1,
        "{said}"
    );
}

#[test]
fn keys_are_made_rotated_and_revoked() {
    let server = Server::serve(&[]);
    let made = done(&server.verb(&["key", "create"]));
    let member = |name| {
        made.lines()
            .find_map(|line: &str| line.strip_prefix(name))
            .unwrap()
            .trim()
            .to_owned()
    };
    let (id, secret) = (member("access_key"), member("secret_key"));
    assert_eq!((id.len(), secret.len()), (20, 40));
    let short = done(&server.verb(&["key", "create", "--temporary", "1h"]));
    let names: Vec<_> = short
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(
        names,
        ["access_key", "secret_key", "session_token", "expires_at"]
    );
    assert!(failed(&server.verb(&["key", "create", "--temporary", "37h"])).contains("temporary"));
    let before = done(&server.verb(&["key", "list"]));
    assert!(before.contains(&id) && !before.contains(&secret));
    let rotated = done(&server.verb(&["key", "rotate"]));
    let new = rotated.rsplit(' ').next().unwrap().to_owned();
    assert!(!before.contains(&new));
    done(&server.verb(&["key", "revoke", &id]));
    let after = done(&server.verb(&["key", "list"]));
    assert!(after.contains(&new) && !after.contains(&id));
}

#[test]
fn a_key_is_made_for_less_than_everything_and_the_list_says_for_what() {
    let server = Server::serve(&[]);
    let make = |flags: &[&str]| {
        let made = done(&server.verb(&[&["key", "create"][..], flags].concat()));
        let line = made.lines().next().unwrap_or_default().to_owned();
        line.rsplit(' ').next().unwrap_or_default().to_owned()
    };
    let two = ["--bucket", "films", "--bucket", "box", "--prefix", "in/"];
    let made = [
        (make(&[]), "read_write  -  -"),
        (make(&["--read-only"]), "read  -  -"),
        (make(&["--write-only", "--temporary", "1h"]), "write  -  -"),
        (make(&two), "read_write  films,box  in/"),
        (
            make(&["--read-only", "--prefix", "a b", "--prefix", "c,d"]),
            "read  -  a b,c,d",
        ),
    ];
    let listed = done(&server.verb(&["key", "list"]));
    for (id, expected) in made {
        let line = listed.lines().find(|line| line.starts_with(&id)).unwrap();
        let cells = line
            .split("  ")
            .filter(|cell| !cell.is_empty())
            .map(str::trim);
        let cells: Vec<_> = cells.skip(4).collect();
        assert_eq!(cells.join("  "), expected, "{line}");
    }
    for (flags, named) in [
        (
            ["--bucket", "films", "--bucket", "Fi\nlms"].as_slice(),
            "buckets hold \"Fi\\nlms\", which must be 3 to 63",
        ),
        (&["--prefix", ""], "prefixes must not be empty"),
    ] {
        let said = failed(&server.verb(&[&["key", "create"][..], flags].concat()));
        assert!(said.contains(named), "{said}");
    }
    let both = server.verb(&["key", "create", "--read-only", "--write-only"]);
    assert_eq!(both.status.code(), Some(2));
    assert_eq!(done(&server.verb(&["key", "list"])), listed);
}

#[test]
fn pipelines_are_created_listed_and_deleted() {
    let server = Server::serve(&[]);
    let id = done(&server.verb(&[
        "pipeline",
        "create",
        "films",
        "--description",
        "for the cinema",
    ]));
    let chosen = done(&server.verb(&["pipeline", "create", "moved", "--id", PIPELINE]));
    assert_eq!(chosen, PIPELINE);
    let listed = done(&server.verb(&["pipeline", "list"]));
    let line = listed.lines().find(|line| line.starts_with(&id)).unwrap();
    assert!(
        line.contains("films") && line.contains("for the cinema"),
        "{line}"
    );
    done(&server.verb(&["pipeline", "delete", &id]));
    assert!(!done(&server.verb(&["pipeline", "list"])).contains(&id));
}

/// A file of `length` bytes that no two chunks of are alike.
fn file_of(server: &Server, length: usize) -> PathBuf {
    let path = server.folder().join("film.mp4");
    let bytes: Vec<u8> = (0..length)
        .map(|n| u8::try_from((n / 251 + n) % 256).unwrap())
        .collect();
    fs::write(&path, bytes).unwrap();
    path
}

fn upload(server: &Server, more: &[&str]) -> Output {
    let mut command = pillarbox();
    command.arg("upload").arg(server.folder().join("film.mp4"));
    command.args([
        "--url",
        &server.public,
        "--token",
        "dev-token",
        "--chunk-size",
        "65536",
    ]);
    command.args(more).output().unwrap()
}

fn stored(server: &Server, key: &str) -> PathBuf {
    let object = format!("uploads/tmp/{PIPELINE}/{key}");
    PathBuf::from(done(&server.verb(&["path", &object])))
}

#[test]
fn a_file_is_uploaded_in_chunks_and_its_path_holds_the_same_bytes() {
    let server = Server::dev(&[]);
    for (length, key) in [
        (0, "empty"),
        (1, "one"),
        (65_536, "even"),
        (1_000_003, "odd"),
    ] {
        let file = file_of(&server, length);
        let said = done(&upload(&server, &["--pipeline", PIPELINE, "--key", key]));
        assert!(said.ends_with(key), "{said}");
        assert_eq!(
            fs::read(stored(&server, key)).unwrap(),
            fs::read(file).unwrap(),
            "{key}"
        );
    }
}

/// Starts a session by hand and posts some of its chunks, as an upload that was cut off.
fn half_uploaded(server: &Server, chunk_bytes: usize, count: usize, send: &[usize]) -> String {
    half_uploaded_for("s3", server, (chunk_bytes, count), send)
}

/// The same in a session whose posts are answered otherwise.
fn half_uploaded_for(
    answer: &str,
    server: &Server,
    (chunk_bytes, count): (usize, usize),
    send: &[usize],
) -> String {
    let target = format!(
        "{}/v1/files/uploads/?object_key=film&pipeline_id={PIPELINE}&answer={answer}",
        server.public
    );
    let curl = |arguments: &[&str]| {
        let output = Command::new("curl")
            .args(["-sS", "--fail-with-body"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stdout(&output));
        stdout(&output)
    };
    let answer = curl(&[
        "-X",
        "POST",
        "-H",
        "Authorization: Bearer dev-token",
        &target,
    ]);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let session = &answer["upload"];
    let bytes = fs::read(server.folder().join("film.mp4")).unwrap();
    for index in send {
        let piece = server.folder().join("piece");
        let end = bytes.len().min((index + 1) * chunk_bytes);
        fs::write(&piece, &bytes[index * chunk_bytes..end]).unwrap();
        let mut form = Vec::new();
        for (name, value) in session["form_post_params"].as_object().unwrap() {
            let value = match name.as_str() {
                "chunk" => index.to_string(),
                "chunks" => count.to_string(),
                _ => value.as_str().unwrap().to_owned(),
            };
            form.extend(["--form-string".to_owned(), format!("{name}={value}")]);
        }
        form.extend(["-F".to_owned(), format!("file=@{}", piece.display())]);
        form.push(session["form_post_url"].as_str().unwrap().to_owned());
        curl(&form.iter().map(String::as_str).collect::<Vec<_>>());
    }
    session["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_cut_off_upload_is_resumed_with_only_what_is_missing() {
    let server = Server::dev(&[]);
    let file = file_of(&server, 300_000);
    let session = half_uploaded(&server, 65_536, 5, &[3, 0]);
    let posts = |server: &Server| server.log().matches("path=\"/uploads/\"").count();
    let before = posts(&server);
    done(&upload(&server, &["--resume", &session]));
    assert_eq!(posts(&server) - before, 3);
    assert_eq!(
        fs::read(stored(&server, "film")).unwrap(),
        fs::read(file).unwrap()
    );
    // Once more is harmless, also with the first command line repeated.
    let pipeline = "547f3eede4b025bcbff38657";
    let again = ["--resume", &session, "--pipeline", pipeline];
    done(&upload(&server, &again));
    let other = [&again[..], &["--key", "other"]].concat();
    let said = failed(&upload(&server, &other));
    assert!(said.contains("is for film"), "{said}");
    let stranger = "a".repeat(24);
    let other = ["--resume", &session, "--pipeline", &stranger];
    let said = failed(&upload(&server, &other));
    for named in [&stranger, pipeline] {
        assert!(said.contains(named), "{said}");
    }
    assert_eq!(posts(&server) - before, 3);
}

#[test]
fn a_name_that_would_talk_to_the_terminal_is_only_shown() {
    let server = Server::dev(&[]);
    file_of(&server, 10);
    let key = "a\u{1b}]0;owned\u{7}\u{202e}b";
    let said = done(&upload(&server, &["--pipeline", PIPELINE, "--key", key]));
    let (_id, shown) = said.split_once("  ").unwrap();
    assert_eq!(shown.trim_end(), r"a\u{1b}]0;owned\u{7}\u{202e}b");
}

#[test]
fn what_can_be_read_but_once_is_not_uploaded_and_who_tries_is_told_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let folder_name = folder.path().to_str().unwrap();
    let upload = |file: &str| {
        let flags = [
            "--token",
            "t",
            "--pipeline",
            PIPELINE,
            "--url",
            "http://127.0.0.1:1",
        ];
        run(&[&["upload", file][..], &flags].concat())
    };
    let refused = upload("-");
    assert_eq!(refused.status.code(), Some(2));
    for word in ["standard input", "a file first", "aws s3 cp -", "./-"] {
        assert!(stderr(&refused).contains(word), "{}", stderr(&refused));
    }
    assert!(failed(&upload("/dev/null")).contains("a file first"));
    let said = failed(&upload(folder_name));
    assert!(
        said.contains(folder_name) && said.contains("is a folder"),
        "{said}"
    );
}

#[test]
fn a_session_with_chunks_of_another_size_is_not_continued() {
    let server = Server::dev(&[]);
    file_of(&server, 300_000);
    let session = half_uploaded(&server, 70_000, 5, &[0]);
    let said = failed(&upload(&server, &["--resume", &session]));
    assert!(said.contains("another size"), "{said}");
}

#[test]
fn a_refusal_that_stays_is_told_with_its_reason_and_no_word_on_how_to_go_on() {
    let server = Server::dev(&[]);
    let file = file_of(&server, 300_000);
    let session = half_uploaded_for("json", &server, (65_536, 5), &[0]);
    let shorter = fs::read(&file).unwrap()[..200_000].to_vec();
    fs::write(&file, shorter).unwrap();
    let said = failed(&upload(&server, &["--resume", &session]));
    assert!(said.contains("5 is known, 4 was given"), "{said}");
    assert!(!said.contains("go on with"), "{said}");
}

#[test]
fn an_upload_of_a_file_that_changed_since_it_was_cut_off_is_not_continued() {
    let server = Server::dev(&[]);
    let file = file_of(&server, 300_000);
    let session = half_uploaded(&server, 65_536, 5, &[0, 3]);
    let mut bytes = fs::read(&file).unwrap();
    bytes[3 * 65_536] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let goes_on = ["--resume", &session];
    let said = failed(&upload(&server, &goes_on));
    assert!(
        said.contains("chunk 3") && said.contains("without --resume"),
        "{said}"
    );
    bytes[3 * 65_536] ^= 1;
    fs::write(&file, &bytes).unwrap();
    done(&upload(&server, &goes_on));
    assert_eq!(fs::read(stored(&server, "film")).unwrap(), bytes);
}

#[test]
fn a_refused_upload_fails_with_the_reason_and_without_the_token() {
    let server = Server::dev(&[]);
    file_of(&server, 10);
    let mut command = pillarbox();
    command
        .arg("upload")
        .arg(server.folder().join("film.mp4"))
        .args(["--pipeline", PIPELINE]);
    command
        .env("PILLARBOX_URL", &server.public)
        .env("PILLARBOX_TOKEN", "secret-but-wrong");
    let said = failed(&command.output().unwrap());
    assert!(
        said.contains("Invalid access token") && !said.contains("secret-but-wrong"),
        "{said}"
    );
}

#[test]
fn an_upload_goes_over_tls_to_a_certificate_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (cert, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    fs::write(&cert, certificate.cert.pem()).unwrap();
    fs::write(&key, certificate.signing_key.serialize_pem()).unwrap();
    let server = Server::serve_in(
        folder,
        &[
            "--certificate",
            cert.to_str().unwrap(),
            "--private-key",
            key.to_str().unwrap(),
        ],
    );
    let token = done(&server.verb(&["token", "create"]));
    let pipeline = done(&server.verb(&["pipeline", "create", "films"]));
    let file = file_of(&server, 200_000);
    let empty = server.folder().join("empty.pem");
    fs::write(&empty, "nothing\n").unwrap();
    let upload = |trusted: Option<&PathBuf>| {
        let mut command = pillarbox();
        command
            .arg("upload")
            .arg(&file)
            .args(["--url", &server.public, "--pipeline", &pipeline]);
        command.env("PILLARBOX_TOKEN", &token);
        if let Some(cert) = trusted {
            command.arg("--cacert").arg(cert);
        }
        command.output().unwrap()
    };
    assert!(failed(&upload(Some(&empty))).contains("holds no certificate"));
    assert!(failed(&upload(None)).contains("certificate"));
    done(&upload(Some(&cert)));
    let object = format!("uploads/tmp/{pipeline}/film.mp4");
    let path = done(&server.verb(&["path", &object]));
    assert_eq!(fs::read(path).unwrap(), fs::read(file).unwrap());
}

#[test]
fn verify_finds_a_changed_byte_and_says_where() {
    let server = Server::dev(&[]);
    file_of(&server, 100_000);
    done(&upload(&server, &["--pipeline", PIPELINE, "--key", "good"]));
    done(&upload(&server, &["--pipeline", PIPELINE, "--key", "bad"]));
    assert_eq!(
        done(&server.verb(&["verify"])),
        "2 objects verified, none damaged"
    );
    let path = stored(&server, "bad");
    let mut bytes = fs::read(&path).unwrap();
    bytes[50_000] ^= 1;
    fs::write(&path, bytes).unwrap();
    let said = failed(&server.verb(&["verify"]));
    assert!(said.contains("bad") && !said.contains("good"), "{said}");
}

#[test]
fn reindex_refuses_beside_a_server_and_finds_every_file_after_it() {
    let server = Server::dev(&[]);
    file_of(&server, 100_000);
    done(&upload(&server, &["--pipeline", PIPELINE, "--key", "kept"]));
    failed(&server.verb(&["reindex"]));
    let folder = server.stop();
    let data = folder.path().join("data");
    fs::remove_dir_all(data.join("index")).unwrap();
    assert_eq!(
        done(&run(&["reindex", "--data", data.to_str().unwrap()])),
        "1 files indexed"
    );
    let object = format!("uploads/tmp/{PIPELINE}/kept");
    done(&run(&["path", &object, "--data", data.to_str().unwrap()]));
}

#[test]
fn the_superuser_serves_nobodys_store() {
    let server = Server::dev(&[]);
    let folder = server.stop();
    let data = folder.path().join("data");
    // Only the superuser can give a file away, and only he is refused.
    if std::os::unix::fs::chown(data.join("FORMAT"), Some(65534), None).is_err() {
        return;
    }
    let said = failed(&run(&["serve", "--data", data.to_str().unwrap()]));
    assert!(said.contains("run the server as that user"), "{said}");
}

#[test]
fn an_empty_folder_in_which_everybody_writes_is_taken_for_oneself_and_the_superuser_opens_no_such_store()
 {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let set_mode = |place: &Path, mode| {
        fs::set_permissions(place, fs::Permissions::from_mode(mode)).unwrap();
    };
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    fs::create_dir(&data).unwrap();
    set_mode(&data, 0o2777);
    let shown = data.to_str().unwrap();
    let token = ["token", "create", "--name", "x", "--data", shown];
    done(&run(&token));
    let found = fs::metadata(&data).unwrap();
    assert_eq!(found.mode() & 0o7777, 0o2775);
    let remedy = format!("chmod -R o-w {shown}");
    // Where names are only their owners' to change, others may still make new ones.
    set_mode(&data, 0o1777);
    assert!(stderr(&run(&token)).contains(&remedy));
    set_mode(&data, 0o777);
    if found.uid() != 0 {
        let made = run(&token);
        assert!(String::from_utf8_lossy(&made.stderr).contains(&remedy));
        done(&made);
        return;
    }
    for verb in [&token[..], &["serve", "--data", shown]] {
        let said = failed(&run(verb));
        assert!(said.contains(&remedy), "{said}");
    }
}

#[test]
fn a_folder_that_others_may_change_by_the_time_it_is_locked_is_not_used() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let place = tempfile::tempdir().unwrap();
    // Others are only told, and go on; a server would not end then.
    let is_root = fs::metadata(place.path()).unwrap().uid() == 0;
    let verbs = [
        &["token", "create", "--name", "x"][..],
        &["reindex"],
        &["serve"],
    ];
    for verb in &verbs[..if is_root { 3 } else { 2 }] {
        let data = place.path().join(verb[0]);
        let shown = data.to_str().unwrap();
        fs::create_dir(&data).unwrap();
        let is_there = verb[0] == "reindex";
        if is_there {
            done(&run(&["token", "create", "--name", "x", "--data", shown]));
        }
        let lock = hold_lock(&data);
        let said = fs::File::create(place.path().join("stderr")).unwrap();
        let mut command = pillarbox();
        command.args(*verb).args(["--data", shown]).stderr(said);
        let mut child = command.spawn().unwrap();
        let said = || fs::read_to_string(place.path().join("stderr")).unwrap();
        eventually("the wait for the lock", || {
            said().contains("another process uses").then_some(())
        });
        fs::set_permissions(&data, fs::Permissions::from_mode(0o777)).unwrap();
        drop(lock);
        let deadline = std::time::Instant::now() + process::SOON;
        let status = loop {
            match child.try_wait().unwrap() {
                None if std::time::Instant::now() > deadline => child.kill().unwrap(),
                None => std::thread::sleep(std::time::Duration::from_millis(10)),
                Some(status) => break status,
            }
        };
        let code = i32::from(is_root);
        assert_eq!(status.code(), Some(code), "{verb:?}: {}", said());
        let told = format!("everybody may write in {shown}");
        assert!(said().contains(&told), "{verb:?}: {}", said());
        let is_made = is_there || !is_root;
        assert_eq!(data.join("FORMAT").exists(), is_made, "{verb:?}");
    }
}

#[test]
fn a_start_says_what_is_no_file_and_does_not_wait_for_it() {
    for name in ["LOCK", "FORMAT", "catalog.json", "index/db", "index/conf"] {
        let place = tempfile::tempdir().unwrap();
        let data = place.path().join("data");
        let shown = data.to_str().unwrap();
        done(&run(&["token", "create", "--name", "x", "--data", shown]));
        let path = data.join(name);
        let _absent = fs::remove_file(&path);
        assert!(
            Command::new("mkfifo")
                .arg(&path)
                .status()
                .unwrap()
                .success()
        );
        let mut asked = Command::new("timeout");
        asked.arg("10").arg(env!("CARGO_BIN_EXE_pillarbox"));
        let said = failed(
            &asked
                .args(["token", "list", "--data", shown])
                .output()
                .unwrap(),
        );
        for word in [path.to_str().unwrap(), "no regular file"] {
            assert!(said.contains(word), "{name}: {said}");
        }
    }
}

#[test]
fn healthcheck_tells_a_ready_server_from_one_that_is_gone() {
    let server = Server::dev(&[]);
    let admin = server.admin.clone();
    assert_eq!(done(&run(&["healthcheck", "--admin-url", &admin])), "ready");
    drop(server);
    failed(&run(&["healthcheck", "--admin-url", &admin]));
}

#[test]
fn the_example_of_the_dev_banner_works_when_pasted() {
    let server = Server::dev(&[]);
    let said = eventually("the banner", || {
        Some(server.said()).filter(|said| said.contains("redirect=true"))
    });
    let example: Vec<&str> = said
        .lines()
        .skip_while(|line| !line.starts_with("cd "))
        .collect();
    let example = example.join("\n");
    let example = example.split("\n\n").next().unwrap();
    let pasted = Command::new("bash")
        .args(["-e", "-o", "pipefail", "-c", example])
        .output()
        .unwrap();
    assert!(
        done(&pasted).ends_with("Hello, pillar box"),
        "{}",
        stderr(&pasted)
    );
}

#[test]
fn the_temporary_folder_of_dev_goes_away_with_it() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let place = tempfile::tempdir().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut command = pillarbox();
        command.arg("dev").env("TMPDIR", place.path());
        let mut server = Server::start(command, folder);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
        server.signal(signal);
        assert!(server.wait().success());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "{signal:?}");
    }
}

#[test]
fn dev_with_a_folder_keeps_it() {
    let server = Server::dev(&[]);
    file_of(&server, 10);
    done(&upload(&server, &["--pipeline", PIPELINE, "--key", "kept"]));
    let folder = server.stop();
    let mut command = pillarbox();
    command
        .arg("dev")
        .arg("--data")
        .arg(folder.path().join("data"));
    let server = Server::start(command, folder);
    assert_eq!(fs::read(stored(&server, "kept")).unwrap().len(), 10);
}

#[test]
fn dev_keeps_the_data_in_a_folder_that_a_setting_names() {
    for by_flag in [true, false] {
        let place = tempfile::tempdir().unwrap();
        let data = place.path().join("keep");
        let mut command = pillarbox();
        command.arg("dev").env("TMPDIR", place.path());
        match by_flag {
            true => command
                .arg("--set")
                .arg(format!("store.data={}", data.display())),
            false => command.env("PILLARBOX_STORE_DATA", &data),
        };
        let server = Server::start(command, tempfile::tempdir().unwrap());
        eventually("the banner", || {
            server.said().contains("kept.").then_some(())
        });
        server.stop();
        assert!(data.join("FORMAT").exists());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_setting_that_is_no_utf_8_is_refused_and_never_changed_or_passed_over() {
    use std::os::unix::ffi::OsStrExt as _;
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join(std::ffi::OsStr::from_bytes(b"d\xff"));
    let refused = |command: &mut Command| {
        let output = command.current_dir(place.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains("no UTF-8"), "{}", stderr(&output));
    };
    for verb in ["serve", "dev", "verify", "check-config"] {
        refused(pillarbox().arg(verb).arg("--data").arg(&data));
        refused(pillarbox().arg(verb).env("PILLARBOX_STORE_DATA", &data));
    }
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    let elsewhere = pillarbox()
        .arg("check-config")
        .env("PILLARBOX_CONFIG", &data)
        .output();
    assert!(failed(&elsewhere.unwrap()).contains("No such file"));
}

#[test]
fn completions_know_the_verbs() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            done(&run(&["completions", shell])).contains("check-config"),
            "{shell}"
        );
    }
}

/// A folder with a saved request, a body, a HAR file, policies, and the key's secret; the request is refused for its field `submit`.
fn saved_forms() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut form = Form::new("uploads", "in/a.bin", b"content");
    let granted = form.clone().sign().encode();
    let refused = form.set("submit", "Send").sign().encode();
    let head = format!(
        "POST /uploads/ HTTP/1.1\r\nHost: localhost:7080\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
        content_type(),
        refused.len()
    );
    let entry = serde_json::json!({
        "request": {
            "method": "POST",
            "url": "http://localhost:7080/uploads/",
            "headers": [{ "name": "content-type", "value": content_type() }],
            "postData": { "mimeType": content_type(), "text": String::from_utf8(refused.clone()).unwrap() },
        },
    });
    let har =
        serde_json::json!({ "log": { "entries": [{ "request": { "method": "GET" } }, entry] } });
    let policy = r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[{"bucket":"box"},["starts-with","$key","in/"]]}"#;
    for (name, bytes) in [
        ("request", [head.as_bytes(), &refused].concat()),
        ("body", granted),
        ("page.har", har.to_string().into_bytes()),
        ("policy.json", policy.into()),
        ("broken.json", policy.replace('"', "'").into()),
        ("secret", format!("{SECRET}\n").into()),
        ("other-secret", b"other".to_vec()),
        ("long-secret", vec![b'x'; 4097]),
        ("page.html", b"<html>".to_vec()),
    ] {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

/// `pillarbox explain` in that folder, at a time when the forms there live.
fn explain(folder: &tempfile::TempDir, arguments: &[&str]) -> Output {
    let mut command = pillarbox();
    command.current_dir(folder.path());
    command.arg("explain").args(arguments);
    if !arguments.contains(&"--at") {
        command.args(["--at", "2026-11-22T13:20:00Z"]);
    }
    command.output().unwrap()
}

#[test]
fn explain_tells_why_a_saved_request_a_har_file_or_a_policy_is_refused() {
    let folder = saved_forms();
    for (arguments, part) in [
        (&["request"][..], "No condition names the field 'submit'"),
        (&["request", "--secret-file", "secret"], "it is       right"),
        (
            &["page.har"],
            "== page.har, entry 1: POST http://localhost:7080/uploads/",
        ),
        (&["broken.json"], "single quotes"),
        (
            &["body", "--bucket", "other"],
            "signed for the bucket 'uploads' and posted to 'other'",
        ),
        (
            &["body", "--secret-file", "other-secret"],
            "403 SignatureDoesNotMatch",
        ),
        (
            &["body", "--secret-file", "secret", "--key-id", "OTHER"],
            "403 InvalidAccessKeyId",
        ),
        (&["body", "--at", "1900000000"], "Policy expired"),
        (
            &["policy.json", "--at", "2031-01-01T00:00:00Z"],
            "Policy expired",
        ),
        (
            &["body", "request"],
            "== request\nRefused: 403 AccessDenied",
        ),
    ] {
        let output = explain(&folder, arguments);
        assert_eq!(
            output.status.code(),
            Some(1),
            "{arguments:?}: {}",
            stderr(&output)
        );
        let said = stdout(&output);
        assert!(said.contains(part), "{arguments:?}: {said}");
        assert!(!said.contains(SECRET) && stderr(&output).is_empty());
    }
}

#[test]
fn explain_ends_with_0_when_nothing_is_refused_and_with_2_when_nothing_can_be_said() {
    let folder = saved_forms();
    for (arguments, part) in [
        (&["body"][..], "Granted, if the signature is right"),
        (&["body", "--secret-file", "secret"], "Granted\n"),
        (&["policy.json"], "A form with this policy must contain"),
        (&["body", "policy.json"], "== policy.json\nValid"),
    ] {
        let said = done(&explain(&folder, arguments));
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
    for (arguments, part) in [
        (&["nowhere"][..], "nowhere: No such file"),
        (&["page.html"], "page.html is neither"),
        (
            &["body", "--secret-file", "nowhere"],
            "secret file nowhere: No such file",
        ),
        (
            &["body", "--secret-file", "long-secret"],
            "secret file long-secret: must be at most 4096 bytes",
        ),
        (&["body", "page.html"], "page.html is neither"),
        (&["body", "--at", "tomorrow"], "seconds since 1970"),
        (&["body", "--bucket", "NO"], "3 to 63"),
        (&["body", "--key-id", "X"], "--secret-file"),
    ] {
        let output = explain(&folder, arguments);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            stdout(&output)
        );
        assert!(
            stderr(&output).contains(part),
            "{arguments:?}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn explain_reads_standard_input_and_writes_json() {
    let folder = saved_forms();
    let mut command = pillarbox();
    command.args(["explain", "--json", "--at", "2026-11-22T13:20:00Z"]);
    command.stdin(fs::File::open(folder.path().join("request")).unwrap());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let told = &told["explanations"][0];
    assert_eq!(told["source"], "standard input");
    assert_eq!(told["granted"], false);
    assert_eq!(
        told["explanation"]["uncovered"],
        serde_json::json!(["submit"])
    );
    let output = explain(&folder, &["--json", "policy.json", "page.har"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["explanations"].as_array().unwrap().len(), 2);
}

#[test]
fn a_refused_form_says_why_in_the_terminal_and_behind_its_link_and_the_log_leads_nobody_there() {
    let server = Server::dev(&[]);
    let folder = saved_forms();
    let posted = Command::new("curl")
        .args([
            "-sS",
            "-D",
            "head",
            "-F",
            "key=in/a.bin",
            "-F",
            "file=@body",
            "-F",
            "policy=late",
        ])
        .arg(format!("{}/uploads/", server.public))
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = done(&posted);
    assert!(
        said.contains("<LikelyCause>The file comes before the fields &apos;policy&apos;"),
        "{said}"
    );
    let head = fs::read_to_string(folder.path().join("head")).unwrap();
    let link = head
        .lines()
        .find_map(|line| line.strip_prefix("x-pillarbox-explain: "))
        .unwrap();
    let read = Command::new("curl")
        .args(["-sSf", "-H", "Accept: text/plain", link])
        .output()
        .unwrap();
    assert!(
        done(&read).starts_with("Refused: 403 AccessDenied"),
        "{}",
        stdout(&read)
    );
    let (_, id) = link.rsplit_once('/').unwrap();
    let log = eventually("the log of both requests", || {
        Some(server.log()).filter(|log| log.contains("/v1/explain/"))
    });
    assert!(!log.contains(id), "{log}");
}

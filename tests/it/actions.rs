//! Actions of a Moebooru site: each is shown as it would be sent, and only `--yes` sends it.

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread::JoinHandle,
};

use larder::dialect::{Catalog, ParamKind};

use super::shell::Shell;

/// A listener that answers one request with `{"success":true}` and hands it back whole.
fn once() -> (String, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let serve = move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut request, mut chunk) = (Vec::new(), [0; 4096]);
        loop {
            let text = String::from_utf8_lossy(&request).into_owned();
            if let Some((head, _)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| {
                    let (name, value) = line.split_once(": ")?;
                    name.eq_ignore_ascii_case("content-length")
                        .then(|| value.parse::<usize>().unwrap())
                });
                if request.len() >= head.len() + 4 + length.unwrap_or(0) {
                    break;
                }
            }
            let read = stream.read(&mut chunk).unwrap();
            assert!(read > 0, "the request is cut");
            request.extend_from_slice(&chunk[..read]);
        }
        let body = "{\"success\":true}";
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
        .unwrap();
        request
    };
    (host, std::thread::spawn(serve))
}

fn folder(host: &str) -> Shell {
    let shell = Shell::new();
    shell.write(
        "archive.toml",
        &format!(
            "archive.path = \"archive\"\n[network]\nallow = [\"{host}\"]\n[sites.booru]\ndialect = \"moebooru\"\nurl = \"http://{host}\"\n\
             login = {{ user = \"wren\", api_key = \"S3CRET-key\" }}\n"
        ),
    );
    shell
}

#[test]
fn each_of_the_24_is_shown_with_all_that_it_takes_and_nothing_is_sent() {
    // Nobody listens there.
    let shell = folder("127.0.0.1:9");
    shell.write("picture.png", "a picture");
    let dialect = Catalog::built_in().get("moebooru").unwrap().clone();
    assert_eq!(dialect.actions.len(), 24);
    let mut all = String::new();
    for (name, action) in &dialect.actions {
        let given = action.params.iter().map(|(key, param)| {
            let value = match (param.kind, param.one_of.last()) {
                (_, Some(last)) => last.to_string(),
                (ParamKind::File, _) => "picture.png".to_owned(),
                (ParamKind::Int, _) => "7".to_owned(),
                (ParamKind::Bool, _) => "true".to_owned(),
                (ParamKind::Date, _) => "2024-02-03".to_owned(),
                _ => format!("a {key} & more"),
            };
            format!("{key}={value}")
        });
        let given: Vec<_> = given.collect();
        let mut args = vec!["call", "booru", name];
        args.extend(given.iter().map(String::as_str));
        let ran = shell.larder(&args).ends(0);
        assert!(ran.err.contains("nothing was sent"), "{}", ran.err);
        assert!(!ran.out.contains("S3CRET"), "{}", ran.out);
        all += &format!("## {name}\n{}\n", ran.out);
    }
    insta::assert_snapshot!(all.replace("127.0.0.1:9", "HOST"));
}

#[test]
fn a_file_is_sent_in_parts_with_the_login_of_the_site() {
    let (host, served) = once();
    let shell = folder(&host);
    shell.write("picture.png", "a picture\0of bytes");
    let args = [
        "call",
        "booru",
        "post_create",
        "tags=heath 水彩",
        "file=picture.png",
        "rating=safe",
        "--yes",
    ];
    let ran = shell.larder(&args).ends(0);
    assert_eq!(ran.json()["success"], true);
    let request = String::from_utf8_lossy(&served.join().unwrap()).into_owned();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /post/create.json?"), "{head}");
    assert!(head.contains("username=wren&api_key=S3CRET-key "), "{head}");
    let line = head.lines().find(|line| {
        line.to_lowercase()
            .starts_with("content-type: multipart/form-data; boundary=")
    });
    let boundary = line
        .unwrap_or_else(|| panic!("{head}"))
        .split_once("boundary=")
        .unwrap()
        .1;
    let parts: Vec<_> = body.split(&format!("--{boundary}")).collect();
    assert_eq!(
        parts.len(),
        5,
        "three parts between four boundaries: {body}"
    );
    assert!(parts.last().unwrap().starts_with("--"));
    let part = |name: &str| {
        parts
            .iter()
            .find(|part| part.contains(&format!("name=\"{name}\"")))
            .unwrap()
    };
    assert!(part("post[tags]").contains("\r\n\r\nheath 水彩\r\n"));
    assert!(part("post[rating]").contains("\r\n\r\nsafe\r\n"));
    let file = part("post[file]");
    assert!(
        file.contains("filename=\"picture.png\"")
            && file.contains("\r\n\r\na picture\0of bytes\r\n"),
        "{file}"
    );
    for said in [&ran.out, &ran.err] {
        assert!(!said.contains("S3CRET"), "{said}");
    }
}

#[test]
fn what_an_action_lacks_is_said_before_anything_is_sent() {
    let shell = folder("127.0.0.1:9");
    for (args, complaint) in [
        (&["post_create"][..], "`tags`"),
        (
            &["post_create", "tags=x", "file=nowhere.png", "--yes"],
            "nowhere.png",
        ),
        (&["post_vote", "id=x", "score=3"], "`id`"),
        (&["post_vote", "id=7"], "`score`"),
    ] {
        let ran = shell.larder(&[&["call", "booru"], args].concat());
        assert!(ran.err.contains(complaint), "{}", ran.err);
        assert_ne!(ran.code, 0, "{}", ran.out);
    }
}

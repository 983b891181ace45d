//! How many bytes the file may have: bounds that count, in any slicing, and all of them (reference 2.3.5, step 8 of 2.7).

use super::Post;
use super::row::{Expected, Row, refused, row, stored};

/// Recorded.
fn too_large(proposed: u64, most: u64) -> Expected {
    refused("EntityTooLarge")
        .saying("Your proposed upload exceeds the maximum allowed size")
        .element("ProposedSize", proposed.to_string())
        .element("MaxSizeAllowed", most.to_string())
}

/// Recorded.
fn too_small(proposed: u64, least: u64) -> Expected {
    refused("EntityTooSmall")
        .saying("Your proposed upload is smaller than the minimum allowed size")
        .element("ProposedSize", proposed.to_string())
        .element("MinSizeAllowed", least.to_string())
}

fn sized(p: &mut Post, range: &str, bytes: usize) {
    p.condition(&format!("[\"content-length-range\",{range}]"));
    p.file((0..bytes).map(|i| (i % 251) as u8).collect::<Vec<_>>());
}

pub(crate) fn rows() -> Vec<Row> {
    let one = |says: &str, range: &'static str, bytes: usize, expected| {
        row(says, move |p| sized(p, range, bytes), expected)
    };
    let mut rows = vec![
        one("as few bytes as allowed", "5,10", 5, stored()),
        one("as many bytes as allowed", "5,10", 10, stored()),
        one("a byte less than allowed", "5,10", 4, too_small(4, 5)),
        one("a byte more than allowed", "5,10", 11, too_large(11, 10)),
        one("bounds in quotes", "\"5\",\"10\"", 10, stored()),
        one(
            "a byte more than a bound in quotes",
            "\"5\",\"10\"",
            11,
            too_large(11, 10),
        ),
        one("no bytes where one is wanted", "1,10", 0, too_small(0, 1)),
        one("no bytes where none are allowed", "0,0", 0, stored()),
        one("one byte where none are allowed", "0,0", 1, too_large(1, 0)),
        one(
            "exactly 128 bytes, as RustFS miscounted them",
            "128,128",
            128,
            stored(),
        ),
        one(
            "127 of exactly 128 bytes",
            "128,128",
            127,
            too_small(127, 128),
        ),
        one(
            "129 of exactly 128 bytes",
            "128,128",
            129,
            too_large(129, 128),
        ),
        one(
            "a range upside down takes what is too much for its end",
            "10,5",
            7,
            too_large(7, 5),
        ),
        one(
            "a range upside down takes what is too little for its beginning",
            "10,5",
            3,
            too_small(3, 10),
        ),
        one(
            "a range up to the last number there is",
            "0,18446744073709551615",
            21,
            stored(),
        ),
        one(
            "leading zeros in a bound in quotes",
            "\"0005\",\"0010\"",
            7,
            stored(),
        ),
    ];
    rows.extend(several_ranges());
    rows.extend(slices());
    rows
}

fn several_ranges() -> Vec<Row> {
    let two = |says: &str, ranges: [&'static str; 2], bytes: usize, expected| {
        row(
            says,
            move |p| {
                p.condition(&format!("[\"content-length-range\",{}]", ranges[0]));
                sized(p, ranges[1], bytes);
            },
            expected,
        )
    };
    vec![
        two(
            "of two ranges the first is narrower above",
            ["0,10", "0,1000"],
            11,
            too_large(11, 10),
        ),
        two(
            "of two ranges the last is narrower above",
            ["0,1000", "0,10"],
            11,
            too_large(11, 10),
        ),
        two(
            "of two ranges the first is narrower below",
            ["5,1000", "0,1000"],
            4,
            too_small(4, 5),
        ),
        two(
            "of two ranges the last is narrower below",
            ["0,1000", "5,1000"],
            4,
            too_small(4, 5),
        ),
        two(
            "what both of two ranges take",
            ["0,10", "5,1000"],
            7,
            stored(),
        ),
        two(
            "what neither of two ranges shares",
            ["0,3", "5,1000"],
            4,
            too_large(4, 3),
        ),
    ]
}

fn slices() -> Vec<Row> {
    let mut rows = Vec::new();
    for bytes in [1_460, 65_536] {
        rows.push(row(
            format!("300 KB under a range of exactly that, in pieces of {bytes} bytes"),
            move |p| {
                sized(p, "300000,300000", 300_000);
                p.pieces(bytes);
            },
            stored(),
        ));
        rows.push(row(
            format!("300 KB and a byte under that range, in pieces of {bytes} bytes"),
            move |p| {
                sized(p, "300000,300000", 300_001);
                p.pieces(bytes);
            },
            too_large(300_001, 300_000),
        ));
    }
    rows.extend([
        row(
            "the fields do not count as bytes of the file",
            |p| {
                sized(p, "21,21", 21);
                p.set("x-ignore-a", "a".repeat(10_000));
            },
            stored(),
        ),
        row(
            "what follows the file does not count as bytes of it",
            |p| {
                sized(p, "21,21", 21);
                p.behind("junk", "j".repeat(10_000));
            },
            stored(),
        ),
        row(
            "a small file under an announced length that is a lie",
            |p| {
                sized(p, "0,21", 21);
                p.announced = Some("50000".to_owned());
            },
            refused("EntityTooLarge").element("MaxSizeAllowed", "21"),
        ),
        row(
            "a large announced length is refused before its bytes",
            |p| {
                sized(p, "0,10", 21);
                p.announced = Some("5000000000".to_owned());
            },
            refused("EntityTooLarge").element("MaxSizeAllowed", "10"),
        ),
        row(
            "too few bytes in many pieces",
            |p| {
                sized(p, "22,30", 21);
                p.pieces(1);
            },
            too_small(21, 22),
        ),
        row(
            "too many bytes in a form that is cut later: the size is known first",
            |p| {
                sized(p, "0,10", 300_000);
                p.pieces(65_536).cut(9);
            },
            refused("EntityTooLarge").element("MaxSizeAllowed", "10"),
        ),
        row(
            "too few bytes in a form that is cut: it may not be all of it",
            |p| {
                sized(p, "22,30", 21);
                p.cut(9);
            },
            super::row::malformed(),
        ),
    ]);
    rows
}

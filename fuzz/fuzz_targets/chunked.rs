//! The chunked coding: no panic, the same data however the bytes are cut, and what is encoded is decoded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use perdura_proxy::h1::{CHUNK_END, Chunk, ChunkFault, ChunkedDecoder, LAST_CHUNK, chunk_head};

fuzz_target!(|input: &[u8]| {
    let Some((&step, text)) = input.split_first() else { return };
    let step = usize::from(step).max(1);
    let whole = read(text, usize::MAX);
    assert_eq!(read(text, step), whole, "cut into pieces of {step}");

    let mut encoded = Vec::new();
    for piece in text.chunks(step) {
        encoded.extend_from_slice(chunk_head(piece.len()).as_ref());
        encoded.extend_from_slice(piece);
        encoded.extend_from_slice(CHUNK_END);
    }
    encoded.extend_from_slice(LAST_CHUNK);
    assert_eq!(read(&encoded, 7), Ok(Some((text.to_vec(), encoded.len()))));
});

/// The data, and how many bytes the body took.
fn read(text: &[u8], step: usize) -> Result<Option<(Vec<u8>, usize)>, ChunkFault> {
    let mut decoder = ChunkedDecoder::new();
    let (mut data, mut read) = (Vec::new(), 0);
    for mut piece in text.chunks(step) {
        while !piece.is_empty() {
            let consumed = match decoder.decode(piece)? {
                Chunk::More { consumed } => consumed,
                Chunk::Data { start, end, consumed } => {
                    data.extend_from_slice(&piece[start..end]);
                    consumed
                }
                Chunk::End { consumed } => return Ok(Some((data, read + consumed))),
            };
            assert!(consumed > 0, "it stands still");
            read += consumed;
            piece = &piece[consumed..];
        }
    }
    Ok(None)
}

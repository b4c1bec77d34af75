//! The system's crypt(3): which formats there are is the system's to say, as with nginx.

use std::ffi::{CStr, CString, c_char, c_void};
use std::io;

/// Room for the state of any libcrypt: glibc's has 131,232 bytes, libxcrypt's 32,768.
const STATE_BYTES: usize = 132 * 1024;

#[link(name = "crypt")]
unsafe extern "C" {
    fn crypt_r(phrase: *const c_char, setting: *const c_char, data: *mut c_void) -> *mut c_char;
}

/// Aligned as the structure of C is.
#[repr(C, align(16))]
struct State([u8; STATE_BYTES]);

/// Hashes a password with the salt of `stored`. A format that the system does not know gives a text
/// that fits nothing, or an error.
pub fn hash(password: &[u8], stored: &[u8]) -> io::Result<Vec<u8>> {
    let (phrase, setting) = (CString::new(password)?, CString::new(stored)?);
    let mut state: Box<State> = Box::new(State([0; STATE_BYTES]));
    let data = std::ptr::from_mut(&mut *state).cast::<c_void>();
    // SAFETY: both texts end in NUL and live through the call; the state is zeroed, aligned and at
    // least as large as any `struct crypt_data`.
    let text = unsafe { crypt_r(phrase.as_ptr(), setting.as_ptr(), data) };
    if text.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: crypt_r gives a text that ends in NUL and lies in the state, which is still here.
    Ok(unsafe { CStr::from_ptr(text) }.to_bytes().to_vec())
}

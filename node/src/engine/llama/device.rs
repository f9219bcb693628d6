//! The GPUs that llama.cpp can compute on, in builds for them. Their names are llama.cpp's: what is listed is what a load can
//! be told to use.

use std::ffi::CStr;

use llama_cpp_sys_2 as sys;

use super::log::init_once;
use super::{LlamaError, owned_text};
use crate::engine::Device;

/// All of them, in llama.cpp's order. In a build for CPUs there are none.
pub(in crate::engine) fn devices() -> Vec<Device> {
    init_once();
    // SAFETY: the library is started; the index is below the count.
    let all = unsafe { (0..sys::ggml_backend_dev_count()).map(|index| sys::ggml_backend_dev_get(index)) };
    all.filter_map(look).collect()
}

fn look(device: sys::ggml_backend_dev_t) -> Option<Device> {
    // SAFETY: the device is one of the library's own, which live as long as the process; so do its names.
    unsafe {
        let mut props: sys::ggml_backend_dev_props = std::mem::zeroed();
        sys::ggml_backend_dev_get_props(device, &raw mut props);
        let integrated = match props.type_ {
            sys::GGML_BACKEND_DEVICE_TYPE_GPU => false,
            sys::GGML_BACKEND_DEVICE_TYPE_IGPU => true,
            _ => return None,
        };
        Some(Device {
            name: owned_text(props.name)?,
            model: owned_text(props.description).unwrap_or_default(),
            pci: owned_text(props.device_id).unwrap_or_default(),
            total_bytes: props.memory_total as u64,
            free_bytes: (props.memory_free as u64).min(props.memory_total as u64),
            integrated,
        })
    }
}

/// The device of this name.
pub(super) fn named(name: &CStr) -> Result<sys::ggml_backend_dev_t, LlamaError> {
    // SAFETY: the library is started, and the name is terminated.
    let device = unsafe { sys::ggml_backend_dev_by_name(name.as_ptr()) };
    if device.is_null() { Err(LlamaError::NoDevice(name.to_string_lossy().into_owned())) } else { Ok(device) }
}

/// What nobody uses of the device's memory, bytes.
pub(super) fn free_bytes(device: sys::ggml_backend_dev_t) -> u64 {
    let (mut free, mut total) = (0, 0);
    // SAFETY: the device is one of the library's own; both numbers live through the call.
    unsafe { sys::ggml_backend_dev_memory(device, &raw mut free, &raw mut total) };
    free as u64
}

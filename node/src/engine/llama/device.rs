//! The GPUs that llama.cpp can compute on, in builds for them. Their names are llama.cpp's: what is listed is what a load can
//! be told to use.

use std::ffi::CString;

use llama_cpp_sys_2 as sys;

use super::log::init_once;
use super::{LlamaError, owned_text};
use crate::engine::{DEVICES_SEPARATOR, Device};

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

/// The devices that a model is loaded on; none of them: the CPU.
pub(super) struct Chosen(Vec<sys::ggml_backend_dev_t>);

impl Chosen {
    /// Those of these names.
    pub(super) fn named(names: &str) -> Result<Chosen, LlamaError> {
        let unknown = |name: &str| LlamaError::NoDevice(name.to_owned());
        let find = |name: &str| {
            let text = CString::new(name).map_err(|_| unknown(name))?;
            // SAFETY: the library is started, and the name is terminated.
            let device = unsafe { sys::ggml_backend_dev_by_name(text.as_ptr()) };
            if device.is_null() { Err(unknown(name)) } else { Ok(device) }
        };
        let names = names.split(DEVICES_SEPARATOR).filter(|name| !name.is_empty());
        Ok(Chosen(names.map(find).collect::<Result<_, _>>()?))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As llama.cpp wants them: ended by a null. Of a null alone, everything is computed on the CPU.
    pub(super) fn terminated(&self) -> Vec<sys::ggml_backend_dev_t> {
        self.0.iter().copied().chain([std::ptr::null_mut()]).collect()
    }

    /// One of them computes all, or layers are split over them in proportion to what each has free.
    pub(super) fn split_mode(&self) -> sys::llama_split_mode {
        if self.0.len() > 1 { sys::LLAMA_SPLIT_MODE_LAYER } else { sys::LLAMA_SPLIT_MODE_NONE }
    }

    /// What nobody uses of their memory, bytes.
    pub(super) fn free_bytes(&self) -> u64 {
        let free_bytes = |&device: &sys::ggml_backend_dev_t| {
            let (mut free, mut total) = (0, 0);
            // SAFETY: the device is one of the library's own; both numbers live through the call.
            unsafe { sys::ggml_backend_dev_memory(device, &raw mut free, &raw mut total) };
            free as u64
        };
        self.0.iter().map(free_bytes).fold(0, u64::saturating_add)
    }
}

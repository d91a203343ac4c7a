// SPDX-License-Identifier: Apache-2.0
// A backend with a Rust runtime inside: threads, allocation and a panic that is caught, against the
// C ABI by hand (no crates, so that Debian's rustc alone builds it).
use std::ffi::CStr;
use std::os::raw::{c_char, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

#[repr(C)]
#[derive(Clone, Copy)]
struct Str {
    ptr: *const u8,
    len: usize,
}
#[repr(C)]
#[derive(Clone, Copy)]
struct List {
    items: *const c_void,
    count: usize,
}
#[repr(C)]
struct Host {
    size: u32,
    abi_minor: u32,
    ctx: *mut c_void,
    extension: extern "C" fn(*mut c_void, *const c_char) -> *const c_void,
    log: extern "C" fn(*mut c_void, u64, i32, Str),
}
#[repr(C)]
struct CallApi {
    size: u32,
    reserved: u32,
    ctx: *mut c_void,
    finish: extern "C" fn(*mut c_void, u64, i32, Str),
    between: [*const c_void; 7], // deadline_ns ... alloc
    emit_volume: extern "C" fn(*mut c_void, u64, *const Volume) -> i32,
}
#[repr(C)]
struct Volume {
    size: u32,
    flags: u32,
    handle: Str,
    capacity_bytes: u64,
    context: List,
    content_kind: i32,
    condition: i32,
    content_handle: Str,
    condition_message: Str,
    topologies: *const c_void,
    topology_count: usize,
    published_node_ids: List,
}
#[repr(C)]
struct CreateVolume {
    size: u32,
    reserved: u32,
    name: Str,
}
#[repr(C)]
struct Controller {
    size: u32,
    flags: u32,
    domain: *const c_void,
    create_volume: extern "C" fn(*mut c_void, u64, *const CreateVolume),
    delete_volume: extern "C" fn(*mut c_void, u64, *const c_void),
}
#[repr(C)]
struct Manifest {
    size: u32,
    thread_model: i32,
    name: Str,
    version: Str,
    csi_min: Str,
    csi_max: Str,
    calls_max: u32,
    domain_calls_max: u32,
    access_modes: u32,
    access_types: u32,
    topology_keys: List,
    needs: List,
    config_schema: Str,
    record_format_min: u32,
    record_format_max: u32,
    context_format_min: u32,
    context_format_max: u32,
}
#[repr(C)]
struct Plugin {
    magic: u32,
    size: u32,
    abi_major: u32,
    abi_minor: u32,
    manifest: *const Manifest,
    create: extern "C" fn(*const Host, u64, *const c_void, *mut *mut c_void),
    steps: [*const c_void; 6], // start ... stop
    destroy: extern "C" fn(*mut c_void),
    extension: extern "C" fn(*mut c_void, *const c_char) -> *const c_void,
}
unsafe impl Sync for Manifest {}
unsafe impl Sync for Controller {}
unsafe impl Sync for Plugin {}

const fn text(s: &'static str) -> Str {
    Str { ptr: s.as_ptr(), len: s.len() }
}
const EMPTY: Str = Str { ptr: std::ptr::null(), len: 0 };
const NONE: List = List { items: std::ptr::null(), count: 0 };

static CALL: AtomicPtr<CallApi> = AtomicPtr::new(std::ptr::null_mut());

fn finish(call: u64, code: i32, message: &str) {
    let api = unsafe { &*CALL.load(Ordering::Acquire) };
    (api.finish)(api.ctx, call, code, Str { ptr: message.as_ptr(), len: message.len() });
}

extern "C" fn create(host: *const Host, call: u64, _: *const c_void, instance: *mut *mut c_void) {
    let host = unsafe { &*host };
    let api = (host.extension)(host.ctx, b"gantry.call/1\0".as_ptr() as *const c_char);
    CALL.store(api as *mut CallApi, Ordering::Release);
    unsafe { *instance = Box::into_raw(Box::new(0u64)) as *mut c_void };
    finish(call, 0, "");
}

extern "C" fn create_volume(_: *mut c_void, call: u64, request: *const CreateVolume) {
    let name = unsafe {
        let n = (*request).name;
        String::from_utf8_lossy(std::slice::from_raw_parts(n.ptr, n.len)).into_owned()
    };
    // A thread of Rust's own, and a panic that stays inside.
    let made = std::thread::spawn(move || {
        if name == "panic" {
            panic!("as told");
        }
        format!("rust-{}", name)
    })
    .join();
    let handle = match made {
        Ok(handle) => handle,
        Err(_) => return finish(call, 14, "the backend panicked"),
    };
    let volume = Volume {
        size: std::mem::size_of::<Volume>() as u32,
        flags: 0,
        handle: Str { ptr: handle.as_ptr(), len: handle.len() },
        capacity_bytes: 1 << 30,
        context: NONE,
        content_kind: 0,
        condition: 0,
        content_handle: EMPTY,
        condition_message: EMPTY,
        topologies: std::ptr::null(),
        topology_count: 0,
        published_node_ids: NONE,
    };
    let api = unsafe { &*CALL.load(Ordering::Acquire) };
    (api.emit_volume)(api.ctx, call, &volume);
    finish(call, 0, "");
}

extern "C" fn delete_volume(_: *mut c_void, call: u64, _: *const c_void) {
    finish(call, 0, "");
}

extern "C" fn destroy(instance: *mut c_void) {
    drop(unsafe { Box::from_raw(instance as *mut u64) });
}

extern "C" fn extension(_: *mut c_void, id: *const c_char) -> *const c_void {
    static TABLE: Controller = Controller {
        size: std::mem::size_of::<Controller>() as u32,
        flags: 0,
        domain: std::ptr::null(),
        create_volume,
        delete_volume,
    };
    match unsafe { CStr::from_ptr(id) }.to_bytes() {
        b"gantry.controller/1" => &TABLE as *const Controller as *const c_void,
        _ => std::ptr::null(),
    }
}

static MANIFEST: Manifest = Manifest {
    size: std::mem::size_of::<Manifest>() as u32,
    thread_model: 2,
    name: text("rust"),
    version: text("1.0.0"),
    csi_min: text("1.12.0"),
    csi_max: text("1.12.0"),
    calls_max: 0,
    domain_calls_max: 0,
    access_modes: 1 << 1,
    access_types: 1 << 1,
    topology_keys: NONE,
    needs: NONE,
    config_schema: EMPTY,
    record_format_min: 0,
    record_format_max: 0,
    context_format_min: 0,
    context_format_max: 0,
};

#[no_mangle]
pub extern "C" fn gantry_plugin_entry_v0(host_minor: u32, _: *mut *const c_char) -> *const c_void {
    static mut PLUGIN: Option<Plugin> = None;
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| unsafe {
        PLUGIN = Some(Plugin {
            magic: 0x47544e59,
            size: std::mem::size_of::<Plugin>() as u32,
            abi_major: 0,
            abi_minor: host_minor,
            manifest: &MANIFEST,
            create,
            steps: [std::ptr::null(); 6],
            destroy,
            extension,
        })
    });
    unsafe { (*std::ptr::addr_of!(PLUGIN)).as_ref().unwrap() as *const Plugin as *const c_void }
}

// SPDX-License-Identifier: Apache-2.0
// gantry.datapath/1 over a local directory, so that the FUSE server is tested without a storage
// server. Handles are the kernel's own (name_to_handle_at), which survive renames as an NFS file
// handle does; needs root. Parameters: `directory`; `later=1` ends reads, writes and lookups on a
// later turn, by a watched eventfd; `keeps=1` holds an fd of each node until it is forgotten; `away=N`
// lets the first N opens fail. Names with a meaning: ".hang" is looked up, and ".hang-made" made, until
// it is interrupted; ".slow" is looked up a timer's 50 ms later; ".crash" aborts the process; while the
// root has ".refused" it is opened for nobody; while a directory has ".held" its readdirplus does not
// end. Built twice: what stands under LOCALFS_NEXT is done by localfs_next alone, as another version of
// the plugin: `next=away` lets every open fail, `next=abort` aborts in it, and ".young" aborts the
// process. It has no readdirplus.
#include <dirent.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <deque>
#include <functional>
#include <gantry/gantry.hpp>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace {

constexpr size_t kHandleBytesMax = 120;
constexpr int64_t kSlowNs = 50'000'000;
constexpr int64_t kLookAgainNs = 2'000'000;
constexpr size_t kRegionBytes = 4096;

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  Fd(const Fd&) = delete;
  Fd(Fd&& other) noexcept : fd_(other.Release()) {}
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  int Release() { return std::exchange(fd_, -1); }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_;
};

// New files belong to the caller, whose right to make them the kernel has checked already.
class As {
 public:
  explicit As(const gantry_fs_context& context) {
    setfsgid(context.gid);
    setfsuid(context.uid);
  }
  ~As() {
    setfsuid(geteuid());
    setfsgid(getegid());
  }
};

struct Handle {
  int type;
  unsigned bytes;
  unsigned char data[kHandleBytesMax];

  gantry_bytes told() const { return {this, offsetof(Handle, data) + bytes}; }
};

gantry_fs_attributes ToAttributes(const struct stat& s) {
  const auto ns = [](const timespec& t) { return t.tv_sec * 1'000'000'000 + t.tv_nsec; };
  gantry_fs_attributes a{};
  a.fileid = s.st_ino;
  a.size_bytes = static_cast<uint64_t>(s.st_size);
  a.used_bytes = static_cast<uint64_t>(s.st_blocks) * 512;
  a.atime_ns = ns(s.st_atim);
  a.mtime_ns = ns(s.st_mtim);
  a.ctime_ns = ns(s.st_ctim);
  a.mode = s.st_mode;
  a.nlink = static_cast<uint32_t>(s.st_nlink);
  a.uid = s.st_uid;
  a.gid = s.st_gid;
  a.rdev_major = major(s.st_rdev);
  a.rdev_minor = minor(s.st_rdev);
  return a;
}

class LocalFs {
 public:
  static gantry::Made<LocalFs> Create(const gantry::Host& host, const gantry_create&) {
    return std::make_unique<LocalFs>(host);
  }
  explicit LocalFs(const gantry::Host& host)
      : api_(*host.Extension<gantry_datapath_host>(GANTRY_EXT_DATAPATH_HOST)) {}
  static const gantry_datapath* DataPath();

  void Open(gantry_op op, const gantry_datapath_open& request) {
    if (opens_++ < std::atoi(gantry::ToMap(request.parameters)["away"].c_str()))
      return Fail(op, ECONNREFUSED);
#ifdef LOCALFS_NEXT
    const std::string_view next = gantry::Find(request.parameters, "next");
    if (next == "away") return Fail(op, ECONNREFUSED);
    if (next == "abort") std::abort();
#endif
    later_ = gantry::Find(request.parameters, "later") == "1";
    keeps_ = gantry::Find(request.parameters, "keeps") == "1";
    const std::string directory(gantry::Find(request.parameters, "directory"));
    if (access((directory + "/.refused").c_str(), F_OK) == 0) return Fail(op, EACCES);
    root_ = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root_ < 0) return Fail(op, errno);
    if (int e = CheckHostMemory()) return Fail(op, e);
    if (later_) {
      wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
      api_.watch(
          api_.ctx, wake_, GANTRY_FS_READABLE,
          [](void* arg, uint32_t) { static_cast<LocalFs*>(arg)->RunLater(); }, this);
    }
    Node(op, root_);
  }

  void Close(gantry_op op) {
    if (later_) api_.watch(api_.ctx, wake_, 0, nullptr, nullptr);
    api_.done(api_.ctx, op);
  }

  void Interrupt(gantry_op op) {
    if (hanging_.erase(op) != 0) Fail(op, EINTR);
  }

  void Lookup(gantry_op op, const gantry_fs_name& r) {
    const std::string name = gantry::ToString(r.name);
    if (name == ".crash") std::abort();
#ifdef LOCALFS_NEXT
    if (name == ".young") std::abort();
#endif
    if (name == ".hang") {
      hanging_.insert(op);
      return;
    }
    if (name == ".slow") {
      slow_ = op;
      return In(kSlowNs, [](void* arg) {
        auto* self = static_cast<LocalFs*>(arg);
        self->Fail(std::exchange(self->slow_, 0), ENOENT);
      });
    }
    Later([=, this] {
      const Fd directory = At(r.directory, O_PATH);
      Emit(op, directory, name);
    });
  }

  void Getattr(gantry_op op, const gantry_fs_node& r) {
    const Fd file = At(r.node, O_PATH | O_NOFOLLOW);
    Attributes(op, file);
  }

  void Setattr(gantry_op op, const gantry_fs_setattr& r) {
    const Fd file = At(r.node, O_PATH | O_NOFOLLOW);
    if (!file) return Fail(op, errno);
    const std::string path = "/proc/self/fd/" + std::to_string(file.get());
    const gantry_fs_attributes& v = r.values;
    if ((r.valid & GANTRY_FS_SET_MODE) && chmod(path.c_str(), v.mode & 07777) != 0)
      return Fail(op, errno);
    if (r.valid & (GANTRY_FS_SET_UID | GANTRY_FS_SET_GID)) {
      const uid_t uid = (r.valid & GANTRY_FS_SET_UID) ? v.uid : UINT32_MAX;
      const gid_t gid = (r.valid & GANTRY_FS_SET_GID) ? v.gid : UINT32_MAX;
      if (fchownat(file.get(), "", uid, gid, AT_EMPTY_PATH) != 0) return Fail(op, errno);
    }
    if ((r.valid & GANTRY_FS_SET_SIZE) &&
        truncate(path.c_str(), static_cast<off_t>(v.size_bytes)) != 0)
      return Fail(op, errno);
    const auto time = [&](uint32_t set, uint32_t now, int64_t ns) {
      if (r.valid & now) return timespec{0, UTIME_NOW};
      if (r.valid & set) {
        const int64_t rest = (ns % 1'000'000'000 + 1'000'000'000) % 1'000'000'000;
        return timespec{(ns - rest) / 1'000'000'000, rest};
      }
      return timespec{0, UTIME_OMIT};
    };
    const timespec times[] = {time(GANTRY_FS_SET_ATIME, GANTRY_FS_SET_ATIME_NOW, v.atime_ns),
                              time(GANTRY_FS_SET_MTIME, GANTRY_FS_SET_MTIME_NOW, v.mtime_ns)};
    if (utimensat(AT_FDCWD, path.c_str(), times, 0) != 0) return Fail(op, errno);
    Attributes(op, file);
  }

  void Readlink(gantry_op op, const gantry_fs_node& r) {
    const Fd link = At(r.node, O_PATH | O_NOFOLLOW);
    char target[4096];
    const ssize_t n = link ? readlinkat(link.get(), "", target, sizeof target - 1) : -1;
    if (n < 0) return Fail(op, errno);
    target[n] = '\0';
    api_.done_target(api_.ctx, op, {target, static_cast<size_t>(n)});
  }

  void Make(gantry_op op, const gantry_fs_make& r) {
    const std::string name = gantry::ToString(r.name);
    if (name == ".hang-made") {
      hanging_.insert(op);
      return;
    }
    const Fd directory = At(r.directory, O_PATH);
    if (!directory) return Fail(op, errno);
    int result = 0;
    {
      const As as(r.context);
      if (S_ISDIR(r.mode)) {
        result = mkdirat(directory.get(), name.c_str(), r.mode & 07777);
      } else if (S_ISLNK(r.mode)) {
        result = symlinkat(gantry::ToString(r.target).c_str(), directory.get(), name.c_str());
      } else if (S_ISREG(r.mode)) {
        const int flags = O_CREAT | O_WRONLY | O_CLOEXEC | O_NOFOLLOW | (r.exclusive ? O_EXCL : 0);
        const Fd file(openat(directory.get(), name.c_str(), flags, r.mode & 07777));
        result = file ? 0 : -1;
      } else {
        result =
            mknodat(directory.get(), name.c_str(), r.mode, makedev(r.rdev_major, r.rdev_minor));
      }
    }
    if (result != 0) return Fail(op, errno);
    Emit(op, directory, name);
  }

  void Link(gantry_op op, const gantry_fs_link& r) {
    const Fd file = At(r.node, O_PATH | O_NOFOLLOW);
    const Fd directory = At(r.directory, O_PATH);
    const std::string name = gantry::ToString(r.name);
    if (!file || !directory ||
        linkat(file.get(), "", directory.get(), name.c_str(), AT_EMPTY_PATH) != 0)
      return Fail(op, errno);
    Emit(op, directory, name);
  }

  void Remove(gantry_op op, const gantry_fs_name& r, int flags) {
    const Fd directory = At(r.directory, O_PATH);
    End(op, directory ? unlinkat(directory.get(), gantry::ToString(r.name).c_str(), flags) : -1);
  }

  void Rename(gantry_op op, const gantry_fs_rename& r) {
    const Fd from = At(r.directory, O_PATH);
    const Fd to = At(r.new_directory, O_PATH);
    End(op, from && to ? renameat(from.get(), gantry::ToString(r.name).c_str(), to.get(),
                                  gantry::ToString(r.new_name).c_str())
                       : -1);
  }

  void Read(gantry_op op, const gantry_fs_read& r) {
    Later([=, this] {
      const Fd file = At(r.node, O_RDONLY);
      const ssize_t n =
          file ? pread(file.get(), r.buffer, r.length, static_cast<off_t>(r.offset)) : -1;
      if (n < 0) return Fail(op, errno);
      api_.done_data(api_.ctx, op, static_cast<uint32_t>(n));
    });
  }

  void Write(gantry_op op, const gantry_fs_write& r) {
    Later([=, this] {
      const Fd file = At(r.node, O_WRONLY);
      const ssize_t n =
          file ? pwrite(file.get(), r.data.ptr, r.data.len, static_cast<off_t>(r.offset)) : -1;
      if (n < 0) return Fail(op, errno);
      api_.done_written(api_.ctx, op, static_cast<uint32_t>(n));
    });
  }

  void Commit(gantry_op op, const gantry_fs_commit& r) {
    const Fd file = At(r.node, O_RDONLY);
    End(op, file ? fsync(file.get()) : -1);
  }

  void Readdir(gantry_op op, const gantry_fs_readdir& r) { List(op, r, /*plus=*/false); }
  void ReaddirPlus(gantry_op op, const gantry_fs_readdir& r) {
    Later([=, this] { List(op, r, /*plus=*/true); });
  }
  void Forget(gantry_bytes node) { kept_.erase(Key(node)); }

  void List(gantry_op op, const gantry_fs_readdir& r, bool plus) {
    const int fd = At(r.node, O_RDONLY | O_DIRECTORY).Release();
    DIR* directory = fd >= 0 ? fdopendir(fd) : nullptr;
    if (directory == nullptr) return Fail(op, errno);
    if (r.cookie != 0) seekdir(directory, static_cast<long>(r.cookie));
    while (const dirent* d = readdir(directory)) {
      gantry_fs_entry entry{};
      entry.name = {d->d_name, std::strlen(d->d_name)};
      entry.fileid = d->d_ino;
      entry.cookie = static_cast<uint64_t>(d->d_off);
      entry.type = static_cast<uint32_t>(d->d_type) << 12;
      const Fd file(plus ? openat(fd, d->d_name, O_PATH | O_NOFOLLOW | O_CLOEXEC) : -1);
      Handle handle{};
      struct stat s {};
      int32_t more = 0;
      if (file && Identify(file.get(), handle, s)) {
        const gantry_fs_attributes attributes = ToAttributes(s);
        more = api_.entry_plus(api_.ctx, op, &entry, handle.told(), &attributes);
        if (more != 0) Keep(file.get(), handle);
      } else {
        more = api_.entry(api_.ctx, op, &entry);
      }
      if (more == 0) break;
    }
    const bool held = plus && faccessat(fd, ".held", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    if (!held) {
      closedir(directory);
      return api_.done(api_.ctx, op);
    }
    held_ = directory;
    held_op_ = op;
    LookAgain();
  }

  void Statfs(gantry_op op, const gantry_fs_node&) {
    struct statvfs v {};
    if (fstatvfs(root_, &v) != 0) return Fail(op, errno);
    gantry_fs_statfs s{};
    s.total_bytes = v.f_blocks * v.f_frsize;
    s.free_bytes = v.f_bfree * v.f_frsize;
    s.available_bytes = v.f_bavail * v.f_frsize;
    s.total_files = v.f_files;
    s.free_files = v.f_ffree;
    s.name_bytes_max = 255;
    s.block_bytes = static_cast<uint32_t>(v.f_frsize);
    api_.done_statfs(api_.ctx, op, &s);
  }

 private:
  void LookAgain() {
    if (faccessat(dirfd(held_), ".held", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
      return In(kLookAgainNs, [](void* arg) { static_cast<LocalFs*>(arg)->LookAgain(); });
    closedir(std::exchange(held_, nullptr));
    api_.done(api_.ctx, held_op_);
  }
  void In(int64_t ns, void (*then)(void* arg)) {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    api_.timer(api_.ctx, now.tv_sec * 1'000'000'000 + now.tv_nsec + ns, then, this);
  }
  void Fail(gantry_op op, int error_number) { api_.done_error(api_.ctx, op, error_number); }
  void End(gantry_op op, int result) {
    if (result != 0) return Fail(op, errno);
    api_.done(api_.ctx, op);
  }

  Fd At(gantry_bytes handle, int flags) const {
    union {
      file_handle head;
      char bytes[sizeof(file_handle) + kHandleBytesMax];
    } buffer{};
    if (handle.len < offsetof(Handle, data) || handle.len > sizeof(Handle)) {
      errno = ESTALE;
      return Fd(-1);
    }
    Handle h{};
    std::memcpy(&h, handle.ptr, handle.len);
    buffer.head.handle_bytes = h.bytes;
    buffer.head.handle_type = h.type;
    std::memcpy(buffer.head.f_handle, h.data, h.bytes);
    return Fd(open_by_handle_at(root_, &buffer.head, flags | O_CLOEXEC));
  }

  static bool Identify(int fd, Handle& handle, struct stat& attributes) {
    union {
      file_handle head;
      char bytes[sizeof(file_handle) + kHandleBytesMax];
    } buffer{};
    buffer.head.handle_bytes = kHandleBytesMax;
    int mount_id = 0;
    if (name_to_handle_at(fd, "", &buffer.head, &mount_id, AT_EMPTY_PATH) != 0 ||
        fstat(fd, &attributes) != 0)
      return false;
    handle.type = buffer.head.handle_type;
    handle.bytes = buffer.head.handle_bytes;
    std::memcpy(handle.data, buffer.head.f_handle, handle.bytes);
    return true;
  }

  void Node(gantry_op op, int fd) {
    Handle handle{};
    struct stat s {};
    if (!Identify(fd, handle, s)) return Fail(op, errno);
    Keep(fd, handle);
    const gantry_fs_attributes attributes = ToAttributes(s);
    api_.done_node(api_.ctx, op, handle.told(), &attributes);
  }

  static std::string Key(gantry_bytes node) {
    return {static_cast<const char*>(node.ptr), node.len};
  }
  void Keep(int fd, const Handle& handle) {
    const std::string key = Key(handle.told());
    if (keeps_ && !kept_.contains(key)) kept_.emplace(key, Fd(dup(fd)));
  }

  void Emit(gantry_op op, const Fd& directory, const std::string& name) {
    const Fd file(directory ? openat(directory.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC)
                            : -1);
    if (!file) return Fail(op, errno);
    Node(op, file.get());
  }

  void Attributes(gantry_op op, const Fd& file) {
    struct stat s {};
    if (!file || fstat(file.get(), &s) != 0) return Fail(op, errno);
    const gantry_fs_attributes attributes = ToAttributes(s);
    api_.done_attributes(api_.ctx, op, &attributes);
  }

  void Later(std::function<void()> work) {
    if (!later_) return work();
    queue_.push_back(std::move(work));
    eventfd_write(wake_, 1);
  }
  void RunLater() {
    eventfd_t ignored = 0;
    eventfd_read(wake_, &ignored);
    for (auto queue = std::exchange(queue_, {}); !queue.empty(); queue.pop_front()) queue.front()();
  }

  // Memory and fds that outlive the process do what datapath.h says.
  int CheckHostMemory() const {
    int32_t fresh = -1;
    const gantry_str name{"test", 4};
    auto* region = static_cast<char*>(api_.region(api_.ctx, name, kRegionBytes, &fresh));
    // A successor finds its predecessor's mark.
    if (region == nullptr || region[0] != (fresh == 1 ? 0 : 'm') || region[kRegionBytes - 1] != 0)
      return EPROTO;
    region[0] = 'm';
    if (api_.region(api_.ctx, name, 2 * kRegionBytes, &fresh) != nullptr) return EPROTO;
    if (api_.take_fd(api_.ctx, name) >= 0) return EPROTO;
    const Fd event(eventfd(7, EFD_CLOEXEC | EFD_NONBLOCK));
    if (api_.keep_fd(api_.ctx, name, event.get()) != 0) return EPROTO;
    const Fd copy(api_.take_fd(api_.ctx, name));
    eventfd_t value = 0;
    if (!copy || eventfd_read(copy.get(), &value) != 0 || value != 7) return EPROTO;
    api_.drop_fd(api_.ctx, name);
    return api_.take_fd(api_.ctx, name) < 0 ? 0 : EPROTO;
  }

  const gantry_datapath_host& api_;
  int root_ = -1;
  int wake_ = -1;
  int opens_ = 0;
  bool later_ = false;
  bool keeps_ = false;
  std::map<std::string, Fd> kept_;  // by handle
  gantry_op slow_ = 0;
  DIR* held_ = nullptr;
  gantry_op held_op_ = 0;
  std::set<gantry_op> hanging_;
  std::deque<std::function<void()>> queue_;
};

template <class Request, void (LocalFs::*Method)(gantry_op, const Request&)>
void Slot(gantry_instance* instance, gantry_op op, const Request* request) {
  (gantry::BackendOf<LocalFs>(instance).*Method)(op, *request);
}

const gantry_datapath* LocalFs::DataPath() {
  static const gantry_datapath kTable = [] {
    gantry_datapath t{};
    t.size = sizeof t;
    t.open = &Slot<gantry_datapath_open, &LocalFs::Open>;
    t.close = [](gantry_instance* i, gantry_op op) { gantry::BackendOf<LocalFs>(i).Close(op); };
    t.interrupt = [](gantry_instance* i, gantry_op op) {
      gantry::BackendOf<LocalFs>(i).Interrupt(op);
    };
    t.lookup = &Slot<gantry_fs_name, &LocalFs::Lookup>;
    t.getattr = &Slot<gantry_fs_node, &LocalFs::Getattr>;
    t.setattr = &Slot<gantry_fs_setattr, &LocalFs::Setattr>;
    t.readlink = &Slot<gantry_fs_node, &LocalFs::Readlink>;
    t.create = &Slot<gantry_fs_make, &LocalFs::Make>;
    t.mkdir = t.create;
    t.mknod = t.create;
    t.symlink = t.create;
    t.link = &Slot<gantry_fs_link, &LocalFs::Link>;
    t.unlink = [](gantry_instance* i, gantry_op op, const gantry_fs_name* r) {
      gantry::BackendOf<LocalFs>(i).Remove(op, *r, 0);
    };
    t.rmdir = [](gantry_instance* i, gantry_op op, const gantry_fs_name* r) {
      gantry::BackendOf<LocalFs>(i).Remove(op, *r, AT_REMOVEDIR);
    };
    t.rename = &Slot<gantry_fs_rename, &LocalFs::Rename>;
    t.read = &Slot<gantry_fs_read, &LocalFs::Read>;
    t.write = &Slot<gantry_fs_write, &LocalFs::Write>;
    t.commit = &Slot<gantry_fs_commit, &LocalFs::Commit>;
    t.readdir = &Slot<gantry_fs_readdir, &LocalFs::Readdir>;
    t.statfs = &Slot<gantry_fs_node, &LocalFs::Statfs>;
#ifndef LOCALFS_NEXT
    t.readdirplus = &Slot<gantry_fs_readdir, &LocalFs::ReaddirPlus>;
#endif
    t.forget = [](gantry_instance* i, gantry_bytes node) {
      gantry::BackendOf<LocalFs>(i).Forget(node);
    };
    return t;
  }();
  return &kTable;
}

const gantry_manifest kManifest = [] {
  gantry_manifest m{};
  m.size = sizeof m;
  m.name = gantry::ToStr("localfs");
  m.version = gantry::ToStr("0.1.0");
  m.thread_model = GANTRY_THREADS_SERIAL;
  m.access_modes = GANTRY_ACCESS_MODE_BIT(GANTRY_MULTI_NODE_MULTI_WRITER);
  m.access_types = GANTRY_ACCESS_TYPE_BIT(GANTRY_ACCESS_MOUNT);
  m.config_schema = gantry::ToStr("{}");
  m.record_format_min = m.record_format_max = 1;
  m.context_format_min = m.context_format_max = 1;
  m.csi_min = m.csi_max = gantry::ToStr("1.12.0");
  return m;
}();

}  // namespace

GANTRY_PLUGIN(LocalFs, kManifest)

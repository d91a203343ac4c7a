// SPDX-License-Identifier: Apache-2.0
// gantry.disk/1 over a local file, so that disks are tested and measured without a target.
// As a backend it makes no volumes: NodeStage's context says which there is (Attach below), and is
// what a disk is opened with too. Parameters: `file`, or `memory` (bytes) where a sandbox hides files; `block` (512) bytes; `pages` (bytes) in memory of its own, where a file may not be so large, and `grows=1` makes
// that twice as large, once its last byte is written to; `direct=1` opens it with O_DIRECT; `disk_identity`, what
// it says it is. Delays, failures and counters: filedisk_control.hpp.
//
// What has no delay ends at once, within the operation: a file's reads and writes are not waited
// for anywhere else either.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <deque>
#include <functional>
#include <gantry/gantry.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "tests/zoo/filedisk_control.hpp"

namespace {

using gantry::zoo::FileDiskControl;
using gantry::zoo::Number;

constexpr uint32_t kBlockBytes = 512;
constexpr int64_t kLookAgainNs = 1'000'000;  // while something is held
constexpr size_t kZeroesBytes = 1024 * 1024;

int64_t Now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

void Count(Number& number, uint64_t by = 1) { number.fetch_add(by, std::memory_order_relaxed); }
void RaiseTo(Number& number, uint64_t value) {
  if (number.load(std::memory_order_relaxed) < value) number.store(value);
}

class FileDisk {
 public:
  static gantry::Made<FileDisk> Create(const gantry::Host& host, const gantry_create&) {
    return std::make_unique<FileDisk>(host);
  }
  explicit FileDisk(const gantry::Host& host) : api_(ApiOf(host)) {}

  // The volume's context says what is emitted: BLOCK where it has `paths`, else DISK.
  gantry::Status Attach(gantry::Call& call, const gantry_attach& request) {
    const auto context = gantry::ToMap(request.context);
    const auto value = [&](const char* key) {
      const auto found = context.find(key);
      return found == context.end() ? std::string() : found->second;
    };
    gantry_source source{};
    const std::string origin = "loop:" + value("file");
    const std::string identity = value("disk_identity");
    const std::string paths = value("paths");
    const gantry_str path = gantry::ToStr(paths);
    source.kind = paths.empty() ? GANTRY_SOURCE_DISK : GANTRY_SOURCE_BLOCK;
    if (!paths.empty()) {
      source.source = gantry::ToStr(origin);
      source.paths = {&path, 1};
    } else {
      source.parameters = request.context;
    }
    source.identity = gantry::ToStr(identity);
    source.size_bytes = std::stoull(value("size"));
    if (value("may_format") == "1") source.flags = GANTRY_SOURCE_MAY_FORMAT;
    call.Emit(source);
    return gantry::Ok();
  }
  gantry::Status Rescan(gantry::Call& call, const gantry_attach& request) {
    return Attach(call, request);
  }
  gantry::Status Detach(gantry::Call&, const gantry_attach&) { return gantry::Ok(); }
  static const gantry_disk* Disk();

  void Open(gantry_op op, const gantry_disk_open& request) {
    auto parameters = gantry::ToMap(request.parameters);
    const std::string file = parameters["file"];
    control_ = file.empty() ? &no_control_ : gantry::zoo::MapControl(file);
    if (control_ == nullptr) return Fail(op, errno);
    Count(control_->opens);
    const std::string identity = gantry::ToString(request.identity);
    if (!identity.empty() && identity != parameters["disk_identity"]) return Fail(op, ENODEV);
    grows_ = parameters["grows"] == "1";
    if (!parameters["block"].empty())
      block_bytes_ = static_cast<uint32_t>(std::stoul(parameters["block"]));
    if (!parameters["pages"].empty()) {
      if (!MapPages(std::stoull(parameters["pages"]))) return Fail(op, errno);
      return EndWithFacts(op);
    }
    fd_ = file.empty()
              ? OpenMemory(parameters["memory"])
              : open(file.c_str(), (request.readonly != 0 ? O_RDONLY : O_RDWR) | O_CLOEXEC |
                                       (parameters["direct"] == "1" ? O_DIRECT : 0));
    if (fd_ < 0) return Fail(op, errno);
    EndWithFacts(op);
  }

  void Close(gantry_op op) {
    close(fd_);
    api_.done(api_.ctx, op);
  }

  void Interrupt(gantry_op op) {
    Count(control_->interrupts);
    const auto waiting = std::find_if(waiting_.begin(), waiting_.end(),
                                      [op](const Waiting& one) { return one.op == op; });
    if (waiting == waiting_.end()) return;
    waiting_.erase(waiting);
    Fail(op, EINTR);
  }

  void Read(gantry_op op, const gantry_disk_read& request) {
    Count(control_->reads);
    RaiseTo(control_->read_bytes_max, request.length);
    Begin(op, true, [this, op, &request] {
      if (const int error = Error(control_->read_errno)) return Fail(op, error);
      const ssize_t n = ReadAt(request.buffer, request.length, request.offset);
      if (n < 0) return Fail(op, errno);
      api_.done_data(api_.ctx, op, static_cast<uint32_t>(n));
    });
  }

  void Write(gantry_op op, const gantry_disk_write& request) {
    Count(control_->writes);
    RaiseTo(control_->write_bytes_max, request.data.len);
    Begin(op, true, [this, op, &request] {
      if (const int error = Error(control_->write_errno)) return Fail(op, error);
      const bool forced = (request.flags & GANTRY_DISK_FORCE_UNIT_ACCESS) != 0;
      if (forced) Count(control_->forced_writes);
      const ssize_t n = WriteAt(request.data, request.offset, forced);
      if (n < 0) return Fail(op, errno);
      api_.done_written(api_.ctx, op, static_cast<uint32_t>(n));
    });
  }

  void Flush(gantry_op op) {
    Count(control_->flushes);
    Begin(op, false, [this, op] {
      if (const int error = Error(control_->flush_errno)) return Fail(op, error);
      End(op, pages_ != nullptr ? 0 : fdatasync(fd_));
    });
  }

  void Discard(gantry_op op, const gantry_disk_range& request) {
    Count(control_->discards);
    Count(control_->discarded_bytes, request.length);
    Begin(op, false, [this, op, &request] { End(op, Punch(request)); });
  }

  void Zero(gantry_op op, const gantry_disk_range& request) {
    const bool may_unmap = (request.flags & GANTRY_DISK_MAY_UNMAP) != 0;
    Count(may_unmap ? control_->zeroes_may_unmap : control_->zeroes);
    Begin(op, false, [this, op, may_unmap, &request] {
      End(op, may_unmap ? Punch(request) : WriteZeroes(request));
    });
  }

  void Refresh(gantry_op op) {
    Count(control_->refreshes);
    Begin(op, true, [this, op] {
      if (const int error = Error(control_->refresh_errno)) return Fail(op, error);
      EndWithFacts(op);
    });
  }

 private:
  struct Waiting {
    gantry_op op;
    int64_t at_ns;
    bool can_be_held;
    std::function<void()> work;
  };

  // Room to grow to twice the size; only what is written takes memory.
  bool MapPages(uint64_t bytes) {
    void* const pages = mmap(nullptr, 2 * bytes, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pages == MAP_FAILED) return false;
    pages_ = static_cast<char*>(pages);
    pages_bytes_ = bytes;
    return true;
  }
  ssize_t ReadAt(void* to, size_t length, uint64_t offset) const {
    if (pages_ == nullptr) return pread(fd_, to, length, static_cast<off_t>(offset));
    std::memcpy(to, pages_ + offset, length);
    return static_cast<ssize_t>(length);
  }
  ssize_t WriteAt(const gantry_bytes& data, uint64_t offset, bool forced) {
    const iovec part{const_cast<void*>(data.ptr), data.len};
    if (pages_ == nullptr)
      return pwritev2(fd_, &part, 1, static_cast<off_t>(offset), forced ? RWF_DSYNC : 0);
    std::memcpy(pages_ + offset, data.ptr, data.len);
    if (grows_ && offset + data.len == pages_bytes_) {
      grows_ = false;
      pages_bytes_ *= 2;
    }
    return static_cast<ssize_t>(data.len);
  }
  static int OpenMemory(const std::string& bytes) {
    const int fd = memfd_create("filedisk", MFD_CLOEXEC);
    return fd >= 0 && ftruncate(fd, std::stol(bytes)) == 0 ? fd : -1;
  }
  static int Error(const Number& number) { return static_cast<int>(number.load()); }
  void Fail(gantry_op op, int error_number) { api_.done_error(api_.ctx, op, error_number); }
  void End(gantry_op op, int result) {
    if (result != 0) return Fail(op, errno);
    api_.done(api_.ctx, op);
  }

  void EndWithFacts(gantry_op op) {
    struct stat status {};
    status.st_size = static_cast<off_t>(pages_bytes_);
    status.st_blksize = block_bytes_;
    if (pages_ == nullptr && fstat(fd_, &status) != 0) return Fail(op, errno);
    gantry_disk_facts facts{};
    facts.block_bytes = block_bytes_;
    facts.size_bytes = static_cast<uint64_t>(status.st_size) / block_bytes_ * block_bytes_;
    facts.discard_granularity_bytes = static_cast<uint32_t>(status.st_blksize);
    api_.done_disk(api_.ctx, op, &facts);
  }

  int Punch(const gantry_disk_range& range) const {
    if (pages_ != nullptr) {
      std::memset(pages_ + range.offset, 0, range.length);
      return 0;
    }
    return fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                     static_cast<off_t>(range.offset), static_cast<off_t>(range.length));
  }

  int WriteZeroes(const gantry_disk_range& range) const {
    if (pages_ != nullptr) return Punch(range);
    if (fallocate(fd_, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(range.offset),
                  static_cast<off_t>(range.length)) == 0)
      return 0;
    if (errno != EOPNOTSUPP) return -1;  // tmpfs has no such thing
    alignas(4096) static const char kZeroes[kZeroesBytes] = {};
    for (uint64_t done = 0; done < range.length;) {
      const ssize_t n = pwrite(fd_, kZeroes, std::min<uint64_t>(kZeroesBytes, range.length - done),
                               static_cast<off_t>(range.offset + done));
      if (n <= 0) return -1;
      done += static_cast<uint64_t>(n);
    }
    return 0;
  }

  void Begin(gantry_op op, bool can_be_held, std::function<void()> work) {
    const auto delay_ns = static_cast<int64_t>(control_->delay_us.load()) * 1000;
    const bool held = can_be_held && control_->holds.load() != 0;
    if (delay_ns == 0 && !held) return work();
    waiting_.push_back({op, Now() + delay_ns, can_be_held, std::move(work)});
    RaiseTo(control_->in_flight_max, waiting_.size());
    if (waiting_.size() == 1) Arm();
  }

  void Arm() {
    const int64_t now = Now();
    int64_t next = INT64_MAX;
    for (const Waiting& one : waiting_)
      next = std::min(next, IsHeld(one) ? now + kLookAgainNs : one.at_ns);
    api_.timer(
        api_.ctx, next, [](void* arg) { static_cast<FileDisk*>(arg)->EndWhatIsDue(); }, this);
  }
  bool IsHeld(const Waiting& one) const { return one.can_be_held && control_->holds.load() != 0; }

  void EndWhatIsDue() {
    const int64_t now = Now();
    for (size_t i = 0; i < waiting_.size();) {
      if (IsHeld(waiting_[i]) || waiting_[i].at_ns > now) {
        ++i;
        continue;
      }
      const auto work = std::move(waiting_[i].work);
      waiting_.erase(waiting_.begin() + static_cast<ptrdiff_t>(i));
      work();
    }
    if (!waiting_.empty()) Arm();
  }

  // Only a data path has it.
  static const gantry_datapath_host& ApiOf(const gantry::Host& host) {
    static const gantry_datapath_host kNone{};
    const auto* api = host.Extension<gantry_datapath_host>(GANTRY_EXT_DATAPATH_HOST);
    return api != nullptr ? *api : kNone;
  }

  const gantry_datapath_host& api_;
  char* pages_ = nullptr;
  uint64_t pages_bytes_ = 0;
  bool grows_ = false;  // twice as large once its last byte is written to
  FileDiskControl no_control_{};
  FileDiskControl* control_ = nullptr;
  int fd_ = -1;
  uint32_t block_bytes_ = kBlockBytes;
  std::deque<Waiting> waiting_;
};

template <auto Method, class Request>
void Slot(gantry_instance* instance, gantry_op op, const Request* request) {
  (gantry::BackendOf<FileDisk>(instance).*Method)(op, *request);
}
template <auto Method>
void Slot(gantry_instance* instance, gantry_op op) {
  (gantry::BackendOf<FileDisk>(instance).*Method)(op);
}

const gantry_disk* FileDisk::Disk() {
  static const gantry_disk kTable = [] {
    gantry_disk t{};
    t.size = sizeof t;
    t.open = &Slot<&FileDisk::Open, gantry_disk_open>;
    t.close = &Slot<&FileDisk::Close>;
    t.interrupt = &Slot<&FileDisk::Interrupt>;
    t.read = &Slot<&FileDisk::Read, gantry_disk_read>;
    t.write = &Slot<&FileDisk::Write, gantry_disk_write>;
    t.flush = &Slot<&FileDisk::Flush>;
    t.discard = &Slot<&FileDisk::Discard, gantry_disk_range>;
    t.zero = &Slot<&FileDisk::Zero, gantry_disk_range>;
    t.refresh = &Slot<&FileDisk::Refresh>;
    return t;
  }();
  return &kTable;
}

const gantry_manifest kManifest = [] {
  gantry_manifest m{};
  m.size = sizeof m;
  m.name = gantry::ToStr("filedisk");
  m.version = gantry::ToStr("0.1.0");
  m.thread_model = GANTRY_THREADS_SERIAL;
  m.access_modes = GANTRY_ACCESS_MODE_BIT(GANTRY_SINGLE_NODE_WRITER) |
                   GANTRY_ACCESS_MODE_BIT(GANTRY_MULTI_NODE_READER_ONLY) |
                   GANTRY_ACCESS_MODE_BIT(GANTRY_MULTI_NODE_MULTI_WRITER);
  m.access_types =
      GANTRY_ACCESS_TYPE_BIT(GANTRY_ACCESS_BLOCK) | GANTRY_ACCESS_TYPE_BIT(GANTRY_ACCESS_MOUNT);
  m.config_schema = gantry::ToStr("{}");
  m.record_format_min = m.record_format_max = 1;
  m.context_format_min = m.context_format_max = 1;
  m.csi_min = m.csi_max = gantry::ToStr("1.12.0");
  return m;
}();

}  // namespace

GANTRY_PLUGIN(FileDisk, kManifest)

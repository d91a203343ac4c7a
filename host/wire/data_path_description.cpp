// SPDX-License-Identifier: Apache-2.0
#include "host/wire/data_path_description.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace gantry::wire {
namespace {

constexpr uint64_t kMagic = 0x3150445954544e47;  // "GNTTYDP1"
constexpr int kSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

// Writes to memory, or only measures while there is none.
class Writer {
 public:
  explicit Writer(char* out) : out_(out) {}
  size_t size() const { return size_; }
  void Bytes(const void* data, size_t size) {
    if (out_ != nullptr && size > 0) std::memcpy(out_ + size_, data, size);
    size_ += size;
  }
  void Number(uint64_t number) { Bytes(&number, sizeof number); }
  void Text(std::string_view text) {
    Number(text.size());
    Bytes(text.data(), text.size());
  }

 private:
  char* out_;
  size_t size_ = 0;
};

class Reader {
 public:
  explicit Reader(std::string_view in) : in_(in) {}
  bool ok() const { return ok_; }
  bool AtEnd() const { return in_.empty(); }
  uint64_t Number() {
    uint64_t number = 0;
    const std::string_view bytes = Take(sizeof number);
    if (ok_) std::memcpy(&number, bytes.data(), sizeof number);
    return number;
  }
  // Ids and flags: one that was cut to fit would be another one, uid 2^32 root.
  uint32_t Number(uint32_t max) {
    const uint64_t number = Number();
    if (number <= max) return static_cast<uint32_t>(number);
    ok_ = false;
    return 0;
  }
  std::string_view Text() { return Take(Number()); }

 private:
  std::string_view Take(uint64_t size) {
    if (!ok_ || size > in_.size()) {
      ok_ = false;
      return {};
    }
    const std::string_view taken = in_.substr(0, size);
    in_.remove_prefix(size);
    return taken;
  }
  std::string_view in_;
  bool ok_ = true;
};

void Encode(const DataPathDescription& d, Writer& out) {
  out.Number(kMagic);
  out.Number(kDescriptionVersion);
  for (const std::string* text : {&d.volume_id, &d.backend, &d.plugin, &d.owner, &d.config_json,
                                  &d.node_id, &d.mount_group, &d.identity})
    out.Text(*text);
  out.Number(d.uid);
  out.Number(d.gid);
  for (const uint64_t limit : {d.limits.memory_mib, d.limits.threads, d.limits.open_files})
    out.Number(limit);
  out.Number(d.readonly ? 1 : 0);
  out.Number(d.disk ? 1 : 0);
  out.Number(d.size_bytes);
  out.Number(d.parameters.size());
  for (const auto& [key, value] : d.parameters) {
    out.Text(key);
    out.Text(value);
  }
  out.Number(d.capabilities.size());
  for (const auto& capability : d.capabilities) out.Text(capability);
  out.Number(d.secrets.size());
  for (const auto& [key, value] : d.secrets) {
    out.Text(key);
    out.Text(value.view());
  }
}

base::Result<DataPathDescription> Decode(std::string_view bytes) {
  Reader in(bytes);
  DataPathDescription d;
  if (in.Number() != kMagic)
    return base::Fail(base::Code::kInternal, "the data path's description is none");
  if (const uint64_t version = in.Number(); version != kDescriptionVersion)
    return base::Fail(base::Code::kFailedPrecondition, "the data path's description has version " +
                                                           std::to_string(version) + ", expected " +
                                                           std::to_string(kDescriptionVersion));
  for (std::string* text : {&d.volume_id, &d.backend, &d.plugin, &d.owner, &d.config_json,
                            &d.node_id, &d.mount_group, &d.identity})
    *text = in.Text();
  d.uid = in.Number(UINT32_MAX);
  d.gid = in.Number(UINT32_MAX);
  for (uint64_t* limit : {&d.limits.memory_mib, &d.limits.threads, &d.limits.open_files})
    *limit = in.Number();
  d.readonly = in.Number(1) != 0;
  d.disk = in.Number(1) != 0;
  d.size_bytes = in.Number();
  for (uint64_t left = in.Number(); left > 0 && in.ok(); --left) {
    std::string key(in.Text());
    d.parameters[std::move(key)] = in.Text();
  }
  for (uint64_t left = in.Number(); left > 0 && in.ok(); --left)
    d.capabilities.emplace_back(in.Text());
  for (uint64_t left = in.Number(); left > 0 && in.ok(); --left) {
    std::string key(in.Text());
    d.secrets.insert_or_assign(std::move(key), base::SecretBytes(in.Text()));
  }
  if (!in.ok() || !in.AtEnd())
    return base::Fail(
        base::Code::kInternal,
        "the data path's description is cut, too long or holds a number out of range");
  return d;
}

}  // namespace

base::Result<base::UniqueFd> SealDescription(const DataPathDescription& description) {
  Writer measure(nullptr);
  Encode(description, measure);
  const size_t size = measure.size();
  if (size > kDescriptionBytesMax)
    return base::Fail(base::Code::kResourceExhausted,
                      "the data path's description has " + std::to_string(size) +
                          " bytes, expected at most " + std::to_string(kDescriptionBytesMax));
  base::UniqueFd fd(memfd_create("gantry-description", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return base::FailErrno(errno, "memfd_create");
  if (ftruncate(fd.get(), static_cast<off_t>(size)) != 0)
    return base::FailErrno(errno, "ftruncate a memfd");
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (memory == MAP_FAILED) return base::FailErrno(errno, "map a memfd");
  Writer writer(static_cast<char*>(memory));
  Encode(description, writer);
  munmap(memory, size);
  // F_SEAL_WRITE needs that no writable mapping is left.
  if (fcntl(fd.get(), F_ADD_SEALS, kSeals) != 0) return base::FailErrno(errno, "seal a memfd");
  return fd;
}

base::Result<DataPathDescription> ReadDescription(int fd) {
  const int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals)
    return base::Fail(base::Code::kInternal, "the data path's description is not sealed");
  struct stat status {};
  if (fstat(fd, &status) != 0) return base::FailErrno(errno, "fstat the description");
  const auto size = static_cast<size_t>(status.st_size);
  if (size == 0 || size > kDescriptionBytesMax)
    return base::Fail(base::Code::kInternal, "the data path's description has a wrong size");
  void* memory = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return base::FailErrno(errno, "map the description");
  (void)madvise(memory, size, MADV_DONTDUMP);
  auto description = Decode({static_cast<const char*>(memory), size});
  munmap(memory, size);
  return description;
}

}  // namespace gantry::wire

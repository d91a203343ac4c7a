// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/target/store.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

#include "plugins/common/sha256.hpp"
#include "plugins/iscsi/target/crypto.hpp"
#include "plugins/iscsi/target/files.hpp"
#include "plugins/iscsi/target/record_file.hpp"

namespace gantry::iscsi::target {
namespace {

using plugin::Fail;
using plugin::Result;
using plugin::UniqueFd;
namespace code = plugin::code;

constexpr std::string_view kRecordSuffix = ".json";
constexpr std::string_view kImageSuffix = ".img";
constexpr std::string_view kNewSuffix = ".new";
constexpr size_t kNonceBytes = 8;
constexpr size_t kRecordFileBytesMax = 2 * (kRecordBytesMax + 2 * kSlotUnitBytes);
constexpr const char* kReserveName = "reserve";
constexpr off_t kReserveBytes = off_t{1} << 20;
constexpr int kLockPollMs = 2;

const char* NameOf(RecordKind kind) { return kind == RecordKind::kVolume ? "volume" : "snapshot"; }
std::string RecordName(const std::string& handle) { return handle + std::string(kRecordSuffix); }

// "t0-1.<incarnation>.img" -> "t0-1"; "" for what is none.
std::string HandleOfImage(const std::string& name) {
  constexpr size_t kRestBytes = 1 + kIncarnationBytes + kImageSuffix.size();
  if (!name.ends_with(kImageSuffix) || name.size() <= kRestBytes) return "";
  return name.substr(0, name.size() - kRestBytes);
}

Result<Lock> LockFile(int directory, const std::string& name, const std::string& what,
                      Deadline deadline) {
  auto opened = OpenFile(directory, name, O_RDWR | O_CREAT);
  if (!opened) return tl::unexpected(plugin::Wrap(std::move(opened.error()), "lock " + what));
  UniqueFd fd = std::move(*opened);
  while (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR)
      return tl::unexpected(FromErrno(errno, "lock " + what));
    if (std::chrono::steady_clock::now() >= deadline)
      return Fail(code::kAborted, what + ": another request is at work on it");
    (void)poll(nullptr, 0, kLockPollMs);
  }
  return Lock(std::move(fd));
}

}  // namespace

Result<Store> Store::Open(const std::string& path, Step step) {
  Store store(path, std::move(step));
  GANTRY_PLUGIN_TRY_ASSIGN(store.top_, OpenFile(AT_FDCWD, path, O_RDONLY | O_DIRECTORY));
  GANTRY_PLUGIN_TRY(CheckPrivate(store.top_.get(), path));
  GANTRY_PLUGIN_TRY_ASSIGN(store.volumes_, OpenDirectory(store.top_.get(), "volumes"));
  GANTRY_PLUGIN_TRY_ASSIGN(store.snapshots_, OpenDirectory(store.top_.get(), "snapshots"));
  GANTRY_PLUGIN_TRY_ASSIGN(store.trash_, OpenDirectory(store.top_.get(), "trash"));
  GANTRY_PLUGIN_TRY_ASSIGN(store.locks_, OpenDirectory(store.top_.get(), "locks"));
  store.MakeReserve();
  return store;
}

int Store::Directory(RecordKind kind) const {
  return kind == RecordKind::kVolume ? volumes_.get() : snapshots_.get();
}

Result<std::vector<Lock>> Store::LockAll(
    const std::vector<std::pair<RecordKind, std::string>>& records, Deadline deadline) const {
  std::map<std::string, std::string> wanted;  // lock file -> for whom
  for (const auto& [kind, handle] : records) {
    const std::string what = std::string(NameOf(kind)) + " " + handle;
    wanted.emplace(plugin::Sha256Hex(what).substr(0, 2), what);
  }
  std::vector<Lock> locks;
  for (const auto& [name, what] : wanted) {
    GANTRY_PLUGIN_TRY_ASSIGN(auto lock, LockFile(locks_.get(), name, what, deadline));
    locks.push_back(std::move(lock));
  }
  return locks;
}

Result<std::optional<Record>> Store::Find(RecordKind kind, const std::string& handle) const {
  const std::string where = std::string(NameOf(kind)) + " " + handle;
  const auto file = ReadFile(Directory(kind), RecordName(handle), kRecordFileBytesMax);
  if (!file && file.error().code == code::kNotFound) return std::optional<Record>();
  if (!file) return tl::unexpected(file.error());
  GANTRY_PLUGIN_TRY_ASSIGN(const auto version, ReadRecordFile(*file, where));
  if (!version) {
    GANTRY_PLUGIN_TRY_ASSIGN(const bool has_data, HasData(kind, handle));
    if (!has_data) return std::optional<Record>();
    return Fail(code::kDataLoss, where + ": there are data, and no record");
  }
  GANTRY_PLUGIN_TRY_ASSIGN(auto record, DecodeRecord(version->text, where));
  if (record.handle != handle || record.kind != kind)
    return Fail(code::kDataLoss, where + ": the record is of another one, " + record.handle);
  return std::optional<Record>(std::move(record));
}

Result<bool> Store::HasData(RecordKind kind, const std::string& handle) const {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto names, ListNames(Directory(kind)));
  for (const auto& name : names) {
    if (HandleOfImage(name) != handle) continue;
    GANTRY_PLUGIN_TRY_ASSIGN(const auto fd, OpenFile(Directory(kind), name, O_RDONLY));
    GANTRY_PLUGIN_TRY_ASSIGN(const auto status, Status(fd.get(), name));
    if (status.st_blocks > 0) return true;
  }
  return false;
}

void Store::MakeReserve() const {
  const auto fd = OpenFile(top_.get(), kReserveName, O_WRONLY | O_CREAT | O_EXCL);
  if (fd && fallocate(fd->get(), 0, 0, kReserveBytes) != 0) (void)Unlink(top_.get(), kReserveName);
}

plugin::Status Store::Write(const Record& record) const {
  auto status = WriteOnce(record);
  if (status || status.error().code != code::kResourceExhausted) return status;
  GANTRY_PLUGIN_TRY(Unlink(top_.get(), kReserveName));
  return WriteOnce(record);
}

plugin::Status Store::WriteOnce(const Record& record) const {
  GANTRY_PLUGIN_TRY_ASSIGN(const bool is_written, Overwrite(record));
  return is_written ? plugin::Status() : Replace(record);
}

Result<bool> Store::Overwrite(const Record& record) const {
  const std::string name = RecordName(record.handle);
  GANTRY_PLUGIN_TRY_ASSIGN(const auto file,
                           ReadFile(Directory(record.kind), name, kRecordFileBytesMax));
  GANTRY_PLUGIN_TRY_ASSIGN(const auto now, ReadRecordFile(file, name));
  if (!now) return false;
  const auto slot = MakeSlot(Encode(record), now->sequence + 1, now->slot_bytes);
  if (!slot) return false;
  GANTRY_PLUGIN_TRY_ASSIGN(const auto fd, OpenFile(Directory(record.kind), name, O_WRONLY));
  // Whoever wrote `now` may have died before it was durable: then the slot that is overwritten is the
  // only one that is, or the file itself is not in its directory yet.
  std::vector<std::pair<int, std::string>> unsure = {{fd.get(), name}};
  if (now->sequence == 1) unsure.emplace_back(Directory(record.kind), "directory");
  GANTRY_PLUGIN_TRY(SyncAll(unsure));
  GANTRY_PLUGIN_TRY(
      WriteAt(fd.get(), *slot, static_cast<off_t>(now->older_slot * now->slot_bytes), name));
  Did("record in place");
  if (fdatasync(fd.get()) != 0) return tl::unexpected(FromErrno(errno, "sync " + name));
  Did("record synced");
  return true;
}

plugin::Status Store::Replace(const Record& record) const {
  const int directory = Directory(record.kind);
  // Under the lock nobody else writes to it, and what a dead one left there is cut.
  const std::string temporary = record.handle + std::string(kNewSuffix);
  GANTRY_PLUGIN_TRY_ASSIGN(const auto fd,
                           OpenFile(directory, temporary, O_WRONLY | O_CREAT | O_TRUNC));
  GANTRY_PLUGIN_TRY(WriteAll(fd.get(), WholeRecordFile(Encode(record), 1), temporary));
  GANTRY_PLUGIN_TRY(Sync(fd.get(), temporary));
  Did("record written");
  GANTRY_PLUGIN_TRY(Rename(directory, temporary, directory, RecordName(record.handle)));
  Did("record in place");
  GANTRY_PLUGIN_TRY(Sync(directory, "directory"));
  Did("record synced");
  return {};
}

plugin::Status Store::Add(const Record& record) const {
  auto added = AddOnce(record);
  if (added) return added;
  // Nobody was told of it.
  (void)Unlink(Directory(record.kind), ImageName(record));
  (void)Unlink(Directory(record.kind), RecordName(record.handle));
  return added;
}

plugin::Status Store::AddOnce(const Record& record) const {
  const int directory = Directory(record.kind);
  const std::string name = RecordName(record.handle);
  GANTRY_PLUGIN_TRY_ASSIGN(const auto fd, OpenFile(directory, name, O_WRONLY | O_CREAT | O_TRUNC));
  GANTRY_PLUGIN_TRY(WriteAll(fd.get(), FirstRecordFile(Encode(record)), name));
  Did("record in place");
  std::vector<std::pair<int, std::string>> made = {{fd.get(), name}, {directory, "directory"}};
  UniqueFd image;
  if (record.content.kind == ContentKind::kNone) {
    GANTRY_PLUGIN_TRY_ASSIGN(image, GrowImage(record, true));
    made.emplace_back(image.get(), ImageName(record));
  }
  GANTRY_PLUGIN_TRY(SyncAll(made));
  Did("record synced");
  return {};
}

plugin::Status Store::Settle(RecordKind kind, const std::string& handle) const {
  const std::string name = RecordName(handle);
  std::vector<std::pair<int, std::string>> files = {{Directory(kind), "directory"}};
  const auto fd = OpenFile(Directory(kind), name, O_RDONLY);
  if (!fd && fd.error().code != code::kNotFound) return tl::unexpected(fd.error());
  if (fd) files.emplace_back(fd->get(), name);
  GANTRY_PLUGIN_TRY(SyncAll(files));
  Did("settled");
  return {};
}

plugin::Status Store::Remove(const Record& record) const {
  const int directory = Directory(record.kind);
  const std::string image = ImageName(record);
  auto moved =
      Rename(directory, image, trash_.get(),
             image.substr(0, image.size() - kImageSuffix.size()) + "." + RandomHex(kNonceBytes));
  if (!moved && moved.error().code != code::kNotFound) return moved;
  Did("image in trash");
  GANTRY_PLUGIN_TRY(Unlink(directory, RecordName(record.handle)));
  Did("record removed");
  GANTRY_PLUGIN_TRY(Sync(directory, "directory"));
  Did("removal synced");
  return {};
}

Result<std::vector<std::string>> Store::Handles(RecordKind kind) const {
  GANTRY_PLUGIN_TRY_ASSIGN(auto names, ListNames(Directory(kind)));
  std::erase_if(names, [](const std::string& name) { return !name.ends_with(kRecordSuffix); });
  for (auto& name : names) name.resize(name.size() - kRecordSuffix.size());
  std::sort(names.begin(), names.end());
  return names;
}

std::string Store::ImageName(const Record& record) {
  return record.handle + "." + record.incarnation + std::string(kImageSuffix);
}

std::string Store::ImagePath(const Record& record) const {
  return path_ + (record.kind == RecordKind::kVolume ? "/volumes/" : "/snapshots/") +
         ImageName(record);
}

Result<UniqueFd> Store::OpenImage(const Record& record, int flags) const {
  return OpenFile(Directory(record.kind), ImageName(record), flags);
}

Result<UniqueFd> Store::GrowImage(const Record& record, bool may_make) const {
  GANTRY_PLUGIN_TRY_ASSIGN(UniqueFd fd, OpenImage(record, O_RDWR | (may_make ? O_CREAT : 0)));
  GANTRY_PLUGIN_TRY_ASSIGN(const auto status, Status(fd.get(), ImageName(record)));
  if (static_cast<uint64_t>(status.st_size) < record.size_bytes &&
      ftruncate(fd.get(), static_cast<off_t>(record.size_bytes)) != 0)
    return tl::unexpected(FromErrno(errno, "size " + ImageName(record)));
  Did("image sized");
  return fd;
}

plugin::Status Store::SyncImage(const Record& record, int image) const {
  return SyncAll({{image, ImageName(record)}, {Directory(record.kind), "directory"}});
}

std::string Store::ImageProblem(const Record& record) const {
  const auto fd = OpenImage(record, O_RDONLY);
  if (!fd && fd.error().code == code::kNotFound && !record.was_published &&
      record.content.kind == ContentKind::kNone)
    return "";
  if (!fd) return "backing file: " + fd.error().message;
  const auto status = Status(fd->get(), ImageName(record));
  if (!status) return "backing file: " + status.error().message;
  if (static_cast<uint64_t>(status->st_size) < record.size_bytes && record.was_published)
    return "backing file: " + std::to_string(status->st_size) + " bytes, expected " +
           std::to_string(record.size_bytes);
  return "";
}

Result<bool> Store::IsNeverWritten(const Record& record) const {
  const auto fd = OpenImage(record, O_RDONLY);
  if (!fd && fd.error().code == code::kNotFound) return !record.was_published;
  if (!fd) return tl::unexpected(fd.error());
  if (lseek(fd->get(), 0, SEEK_DATA) >= 0) return false;
  if (errno != ENXIO) return tl::unexpected(FromErrno(errno, ImageName(record)));
  return true;
}

plugin::Status Store::RemoveUnfinished(RecordKind kind, const std::string& handle,
                                       Deadline deadline) const {
  // Most are whole, and need no lock to be left.
  const auto seen = Find(kind, handle);
  if (!seen || *seen) return {};
  GANTRY_PLUGIN_TRY_ASSIGN(const auto locks, LockAll({{kind, handle}}, deadline));
  GANTRY_PLUGIN_TRY_ASSIGN(const auto now, Find(kind, handle));
  if (now) return {};
  return Unlink(Directory(kind), RecordName(handle));
}

plugin::Status Store::TrashOrphans(RecordKind kind, Deadline deadline) const {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto names, ListNames(Directory(kind)));
  for (const auto& name : names) {
    if (name.ends_with(kNewSuffix)) {
      const std::string handle = name.substr(0, name.size() - kNewSuffix.size());
      GANTRY_PLUGIN_TRY_ASSIGN(const auto locks, LockAll({{kind, handle}}, deadline));
      GANTRY_PLUGIN_TRY(Unlink(Directory(kind), name));
    }
    if (name.ends_with(kRecordSuffix))
      GANTRY_PLUGIN_TRY(
          RemoveUnfinished(kind, name.substr(0, name.size() - kRecordSuffix.size()), deadline));
    const std::string handle = HandleOfImage(name);
    if (handle.empty()) continue;
    const std::string stem = name.substr(0, name.size() - kImageSuffix.size());
    GANTRY_PLUGIN_TRY_ASSIGN(const auto locks, LockAll({{kind, handle}}, deadline));
    GANTRY_PLUGIN_TRY_ASSIGN(const auto record, Find(kind, handle));
    if (record && ImageName(*record) == name) continue;
    auto moved = Rename(Directory(kind), name, trash_.get(), stem + "." + RandomHex(kNonceBytes));
    if (!moved && moved.error().code != code::kNotFound) return moved;
  }
  return {};
}

Result<std::vector<std::string>> Store::Trash() const { return ListNames(trash_.get()); }

Result<bool> Store::EmptyTrash(const std::string& name, Deadline deadline) const {
  constexpr off_t kPieceBytes = off_t{16} << 30;
  auto fd = OpenFile(trash_.get(), name, O_WRONLY);
  if (!fd && fd.error().code == code::kNotFound) return true;
  if (!fd) return tl::unexpected(fd.error());
  GANTRY_PLUGIN_TRY_ASSIGN(const auto status, Status(fd->get(), name));
  for (off_t size = status.st_size; size > kPieceBytes;) {
    size -= kPieceBytes;
    if (ftruncate(fd->get(), size) != 0) return tl::unexpected(FromErrno(errno, name));
    if (std::chrono::steady_clock::now() >= deadline) return false;
  }
  GANTRY_PLUGIN_TRY(Unlink(trash_.get(), name));
  return true;
}

Result<struct statvfs> Store::Space() const {
  struct statvfs space {};
  if (fstatvfs(top_.get(), &space) != 0) return tl::unexpected(FromErrno(errno, path_));
  return space;
}

std::string Store::FilesystemName() const {
  constexpr std::pair<uint32_t, const char*> kNames[] = {
      {0xEF53, "ext4"}, {0x58465342, "xfs"}, {0x9123683E, "btrfs"}, {0x01021994, "tmpfs"}};
  struct statfs status {};
  if (fstatfs(top_.get(), &status) != 0) return "unknown";
  for (const auto& [magic, name] : kNames)
    if (static_cast<uint32_t>(status.f_type) == magic) return name;
  return "other";
}

Result<bool> Store::CanReflink() const {
  constexpr size_t kProbeBytes = 4096;
  const auto probe = [&] {
    return UniqueFd(openat(top_.get(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  };
  const UniqueFd from = probe();
  const UniqueFd to = probe();
  if (!from || !to) return tl::unexpected(FromErrno(errno, "make a file"));
  GANTRY_PLUGIN_TRY(WriteAll(from.get(), std::string(kProbeBytes, 'x'), "a file to try with"));
  return ioctl(to.get(), FICLONE, from.get()) == 0;
}

}  // namespace gantry::iscsi::target

// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/target/copy.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>
#include <vector>

#include "plugins/iscsi/target/files.hpp"

namespace gantry::iscsi::target {
namespace {

using plugin::Fail;
using plugin::Result;
using plugin::UniqueFd;
namespace code = plugin::code;
using std::chrono::steady_clock;

constexpr uint64_t kSliceBytes = uint64_t{256} << 20;  // between two notes in the record
constexpr size_t kChunkBytes = size_t{4} << 20;        // between two looks at the clock

RecordKind SourceKind(const Record& record) {
  return record.kind == RecordKind::kSnapshot || record.content.kind == ContentKind::kVolume
             ? RecordKind::kVolume
             : RecordKind::kSnapshot;
}

bool IsUnsupported(int error) {
  return error == EOPNOTSUPP || error == EXDEV || error == EINVAL || error == ENOTTY ||
         error == ENOSYS || error == EPERM;
}

// One look at the two records, and their files.
struct Slice {
  Record record;
  Record source;
  UniqueFd from;  // nothing: the source was never written
  UniqueFd to;
};

// At `offset` in `to`, what is there in `from`.
plugin::Status CopyChunk(int from, int to, off_t offset, size_t bytes) {
  std::vector<char> buffer;
  while (bytes > 0) {
    off_t in = offset;
    off_t out = offset;
    ssize_t n = buffer.empty() ? copy_file_range(from, &in, to, &out, bytes, 0) : -1;
    if (n <= 0 && buffer.empty()) {
      if (n < 0 && !IsUnsupported(errno)) return tl::unexpected(FromErrno(errno, "copy"));
      buffer.resize(std::min(bytes, kChunkBytes));
    }
    if (!buffer.empty()) {
      n = pread(from, buffer.data(), std::min(bytes, buffer.size()), offset);
      if (n < 0) return tl::unexpected(FromErrno(errno, "read the source"));
      if (n == 0) return {};  // shorter than its record says: the rest is zero
      n = pwrite(to, buffer.data(), static_cast<size_t>(n), offset);
      if (n < 0) return tl::unexpected(FromErrno(errno, "write the copy"));
    }
    offset += n;
    bytes -= static_cast<size_t>(n);
  }
  return {};
}

// From `offset` on, at most a slice of data or until the deadline; returns how far it came.
Result<uint64_t> CopyFrom(const Slice& slice, uint64_t offset, uint64_t end, Deadline deadline) {
  uint64_t written = 0;
  while (offset < end && slice.from && written < kSliceBytes && steady_clock::now() < deadline) {
    const off_t data = lseek(slice.from.get(), static_cast<off_t>(offset), SEEK_DATA);
    if (data < 0 && errno == ENXIO) return end;
    if (data < 0) return tl::unexpected(FromErrno(errno, "read the source"));
    if (static_cast<uint64_t>(data) >= end) return end;
    const off_t hole = lseek(slice.from.get(), data, SEEK_HOLE);
    if (hole < 0) return tl::unexpected(FromErrno(errno, "read the source"));
    const uint64_t bytes = std::min({static_cast<uint64_t>(hole - data), uint64_t{kChunkBytes},
                                     end - static_cast<uint64_t>(data)});
    GANTRY_PLUGIN_TRY(CopyChunk(slice.from.get(), slice.to.get(), data, bytes));
    offset = static_cast<uint64_t>(data) + bytes;
    written += bytes;
  }
  return slice.from ? offset : end;
}

// Begins anew. The file is empty until the record says so: one that is not as large as the record
// says is never gone on with, or a death in between would take holes for copied data.
plugin::Status Reset(const Context& context, Slice* slice) {
  slice->record.copied_bytes = 0;
  slice->record.copied_writers = slice->source.writers;
  slice->record.created_ns = context.now_ns();
  if (ftruncate(slice->to.get(), 0) != 0) return tl::unexpected(FromErrno(errno, "empty the copy"));
  return {};
}

Result<bool> IsResumable(const Slice& slice) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto status, Status(slice.to.get(), "the copy"));
  return slice.record.copied_bytes > 0 && slice.record.copied_writers == slice.source.writers &&
         static_cast<uint64_t>(status.st_size) == slice.record.size_bytes;
}

plugin::Status SetSize(const Slice& slice) {
  if (ftruncate(slice.to.get(), static_cast<off_t>(slice.record.size_bytes)) != 0)
    return tl::unexpected(FromErrno(errno, "size the copy"));
  return {};
}

// The source is gone for good, so the copy is too.
tl::unexpected<plugin::Error> GiveUp(const Context& context, Record record,
                                     const std::string& why) {
  record.state = RecordState::kDeleting;
  if (auto status = context.store.Write(record); !status)
    return tl::unexpected(std::move(status.error()));
  if (auto status = context.store.Remove(record); !status)
    return tl::unexpected(std::move(status.error()));
  return Fail(code::kNotFound, why);
}

// Under the locks. Nothing: there is nothing to copy.
Result<std::optional<Slice>> Look(const Context& context, RecordKind kind,
                                  const std::string& handle) {
  GANTRY_PLUGIN_TRY_ASSIGN(auto record, context.store.Find(kind, handle));
  if (!record || record->state != RecordState::kCopying) return std::optional<Slice>();
  GANTRY_PLUGIN_TRY_ASSIGN(auto source,
                           context.store.Find(SourceKind(*record), record->content.handle));
  if (!source || source->state != RecordState::kReady ||
      source->incarnation != record->content_incarnation)
    return GiveUp(context, std::move(*record),
                  "source " + record->content.handle + " of " + Named(*record) + ": not there");
  Slice slice{std::move(*record), std::move(*source), UniqueFd(), UniqueFd()};
  auto from = context.store.OpenImage(slice.source, O_RDONLY);
  if (from)
    slice.from = std::move(*from);
  else if (from.error().code != code::kNotFound || slice.source.was_published ||
           slice.source.content.kind != ContentKind::kNone)
    return tl::unexpected(plugin::Wrap(std::move(from.error()), Named(slice.source)));
  GANTRY_PLUGIN_TRY_ASSIGN(slice.to, context.store.OpenImage(slice.record, O_RDWR | O_CREAT));
  return std::optional<Slice>(std::move(slice));
}

plugin::Status Finish(const Context& context, Slice* slice) {
  GANTRY_PLUGIN_TRY(SetSize(*slice));
  GANTRY_PLUGIN_TRY(context.store.SyncImage(slice->record, slice->to.get()));
  context.store.Did("copy synced");
  slice->record.state = RecordState::kReady;
  slice->record.copied_bytes = slice->record.size_bytes;
  return context.store.Write(slice->record);
}

bool TryReflink(const Slice& slice) {
  return slice.from && ioctl(slice.to.get(), FICLONE, slice.from.get()) == 0;
}

// A source that was grown meanwhile has nothing there yet.
uint64_t EndOf(const Slice& slice) {
  return std::min(slice.source.size_bytes, slice.record.size_bytes);
}

Progress At(const Record& record, bool finished) {
  return {record.copied_bytes, record.size_bytes, finished};
}

}  // namespace

plugin::Status CheckSource(const Context& context, const Record& source) {
  if (const auto problem = context.store.ImageProblem(source); !problem.empty())
    return Fail(code::kFailedPrecondition, Named(source) + ": " + problem);
  if (!HasWriter(source)) return {};
  GANTRY_PLUGIN_TRY_ASSIGN(const bool can_reflink, context.store.CanReflink());
  if (can_reflink) return {};
  return Fail(code::kFailedPrecondition,
              Named(source) + ": node " + source.nodes.front().node.node_id +
                  " has it for writing, and the target's file system (" +
                  context.store.FilesystemName() + ") cannot reflink: expected it unpublished");
}

Result<Progress> RunCopy(const Context& context, RecordKind kind, const std::string& handle,
                         Deadline deadline) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto first, context.store.Find(kind, handle));
  if (!first || first->state != RecordState::kCopying) return Progress{0, 0, true};
  const std::vector<std::pair<RecordKind, std::string>> both = {
      {kind, handle}, {SourceKind(*first), first->content.handle}};
  std::optional<Slice> slice;
  uint64_t reached = 0;
  for (;;) {
    {
      GANTRY_PLUGIN_TRY_ASSIGN(const auto locks, context.store.LockAll(both, deadline));
      GANTRY_PLUGIN_TRY_ASSIGN(auto now, Look(context, kind, handle));
      if (!now) return Progress{0, 0, true};
      const bool is_first = !slice || slice->record.incarnation != now->record.incarnation;
      if (!is_first) now->to = std::move(slice->to);  // with its lock
      if (is_first && flock(now->to.get(), LOCK_EX | LOCK_NB) != 0) return At(now->record, false);
      if (is_first && TryReflink(*now)) {
        now->record.created_ns = context.now_ns();
        GANTRY_PLUGIN_TRY(Finish(context, &*now));
        return At(now->record, true);
      }
      GANTRY_PLUGIN_TRY(CheckSource(context, now->source));
      if (!is_first) now->record.copied_bytes = reached;
      GANTRY_PLUGIN_TRY_ASSIGN(const bool resumable, IsResumable(*now));
      if (!resumable) GANTRY_PLUGIN_TRY(Reset(context, &*now));
      slice = std::move(now);
      if (resumable && slice->record.copied_bytes >= EndOf(*slice)) {
        GANTRY_PLUGIN_TRY(Finish(context, &*slice));
        return At(slice->record, true);
      }
      GANTRY_PLUGIN_TRY(context.store.Write(slice->record));
      GANTRY_PLUGIN_TRY(SetSize(*slice));
    }
    if (steady_clock::now() >= deadline) return At(slice->record, false);
    auto copied = CopyFrom(*slice, slice->record.copied_bytes, EndOf(*slice), deadline);
    // A piece that cannot be completed would only take the room from volumes in use.
    if (!copied && copied.error().code == code::kResourceExhausted)
      GANTRY_PLUGIN_TRY(Reset(context, &*slice));
    if (!copied) return tl::unexpected(std::move(copied.error()));
    reached = *copied;
    GANTRY_PLUGIN_TRY(Sync(slice->to.get(), "the copy"));
    context.store.Did("slice synced");
  }
}

}  // namespace gantry::iscsi::target

// SPDX-License-Identifier: Apache-2.0
// Reads and writes: cut to what the server takes at once, all parts on the way together, the rest
// of a short answer asked for again.
#include <cerrno>

#include "plugins/nfs/datapath/convert.hpp"
#include "plugins/nfs/datapath/data_path.hpp"

namespace gantry::nfs {
namespace {

struct Part {
  uint32_t begin;
  uint32_t end;
  uint32_t done = 0;

  uint32_t at() const { return begin + done; }
  uint32_t left() const { return end - begin - done; }
};

std::vector<Part> Cut(uint32_t length, uint32_t part_bytes_max) {
  std::vector<Part> parts;
  for (uint32_t at = 0; at < length; at += std::min(part_bytes_max, length - at)) {
    parts.push_back({at, at + std::min(part_bytes_max, length - at)});
  }
  return parts;
}

// Bytes from the beginning without a hole.
uint32_t Contiguous(const std::vector<Part>& parts) {
  uint32_t bytes = 0;
  for (const Part& part : parts) {
    bytes += part.done;
    if (part.left() > 0) break;
  }
  return bytes;
}

}  // namespace

struct NfsDataPath::ReadJob {
  gantry_op op;
  FileHandle file;
  uint64_t offset;
  std::byte* buffer;
  std::vector<Part> parts;
  size_t open_parts;
  std::optional<NfsError> error;
};

void NfsDataPath::Read(gantry_op op, const gantry_fs_read& request) {
  const Turn turn(*this);
  const auto file = ToHandle(request.node);
  if (!BeginWith(op, request.context, file)) return;
  if (request.length > GANTRY_FS_IO_BYTES_MAX) return Fail(op, EINVAL);
  // In parts, so that the server reads one while it sends another.
  const uint32_t part_bytes = std::min(kReadPartBytesMax, connection_.state().read_bytes_max);
  const auto job = std::make_shared<ReadJob>(ReadJob{op,
                                                     *file,
                                                     request.offset,
                                                     static_cast<std::byte*>(request.buffer),
                                                     Cut(request.length, part_bytes),
                                                     0,
                                                     {}});
  job->open_parts = job->parts.size();
  if (job->parts.empty()) return FinishRead(*job);
  for (size_t i = 0; i < job->parts.size(); ++i) ReadPart(job, i);
}

void NfsDataPath::ReadPart(const std::shared_ptr<ReadJob>& job, size_t index) {
  const Part& wanted = job->parts[index];
  calls_.To<nfs::Read>(job->op, {job->file, job->offset + wanted.at(), wanted.left()},
                       [this, job, index](auto reply, bool) {
                         Part& part = job->parts[index];
                         if (!reply) {
                           job->error = reply.error();
                         } else if (reply->data.size() > part.left()) {
                           job->error = NfsError{Failure::kMalformed, NfsStatus3::kOk, false, 0,
                                                 "READ: more bytes came than were asked for"};
                         } else {
                           std::copy(reply->data.begin(), reply->data.end(),
                                     job->buffer + part.at());
                           part.done += static_cast<uint32_t>(reply->data.size());
                           const bool more = !reply->eof && !reply->data.empty() && part.left() > 0;
                           if (more) return ReadPart(job, index);
                         }
                         if (--job->open_parts == 0) FinishRead(*job);
                       });
}

void NfsDataPath::FinishRead(const ReadJob& job) {
  if (job.error) return Fail(job.op, *job.error);
  calls_.End(job.op);
  host_.done_data(host_.ctx, job.op, Contiguous(job.parts));
}

struct NfsDataPath::WriteJob {
  gantry_op op;
  FileHandle file;
  uint64_t offset;
  std::span<const std::byte> data;
  Stable stable;
  std::vector<Part> parts;
  size_t open_parts;
  std::optional<NfsError> error;
};

void NfsDataPath::Write(gantry_op op, const gantry_fs_write& request) {
  const Turn turn(*this);
  const auto file = ToHandle(request.node);
  if (!BeginWith(op, request.context, file)) return;
  if (request.data.len > GANTRY_FS_IO_BYTES_MAX) return Fail(op, EINVAL);
  // What is not stable must be watched until it is, and that is bounded.
  const bool stable =
      (request.flags & GANTRY_FS_WRITE_STABLE) != 0 ||
      (uncommitted_.size() >= kUncommittedFilesMax && !uncommitted_.contains(*file));
  const auto length = static_cast<uint32_t>(request.data.len);
  const auto job =
      std::make_shared<WriteJob>(WriteJob{op,
                                          *file,
                                          request.offset,
                                          {static_cast<const std::byte*>(request.data.ptr), length},
                                          stable ? Stable::kFileSync : Stable::kUnstable,
                                          Cut(length, connection_.state().write_bytes_max),
                                          0,
                                          {}});
  job->open_parts = job->parts.size();
  if (job->parts.empty()) return FinishWrite(*job);
  for (size_t i = 0; i < job->parts.size(); ++i) WritePart(job, i);
}

void NfsDataPath::WritePart(const std::shared_ptr<WriteJob>& job, size_t index) {
  const Part& wanted = job->parts[index];
  const nfs::Write call{job->file, job->offset + wanted.at(),
                        job->data.subspan(wanted.at(), wanted.left()), job->stable};
  calls_.To<nfs::Write>(job->op, call, Touched(job->file), [this, job, index](auto reply, bool) {
    Part& part = job->parts[index];
    if (!reply) {
      job->error = reply.error();
    } else if (reply->count == 0 || reply->count > part.left() || reply->committed < job->stable) {
      job->error =
          NfsError{Failure::kMalformed, NfsStatus3::kOk, false, 0,
                   "WRITE: " + std::to_string(reply->count) + " of " + std::to_string(part.left()) +
                       " bytes written, or less stable than asked for"};
    } else {
      if (reply->committed == Stable::kUnstable) NoteUncommitted(job->file, reply->verifier);
      part.done += reply->count;
      if (part.left() > 0) return WritePart(job, index);
    }
    if (--job->open_parts == 0) FinishWrite(*job);
  });
}

void NfsDataPath::FinishWrite(const WriteJob& job) {
  const uint32_t written = Contiguous(job.parts);
  if (job.error && written == 0) return Fail(job.op, *job.error);
  calls_.End(job.op);
  host_.done_written(host_.ctx, job.op, written);
}

void NfsDataPath::NoteUncommitted(const FileHandle& file, const Verifier& verifier) {
  const auto [at, is_new] = uncommitted_.try_emplace(file, verifier);
  if (!is_new && at->second != verifier) at->second = std::nullopt;
  PathState& state = connection_.state();
  if (state.unstable == PathState::kNone) {
    state.verifier = verifier;
    state.unstable = PathState::kOneVerifier;
  } else if (state.verifier != verifier) {
    state.unstable = PathState::kSeveral;
  }
}

// The server's verifier changes when it may have lost what was not committed.
void NfsDataPath::Commit(gantry_op op, const gantry_fs_commit& request) {
  const Turn turn(*this);
  const auto file = ToHandle(request.node);
  if (!BeginWith(op, request.context, file)) return;
  const PathState& state = connection_.state();
  std::optional<Verifier> written;
  if (const auto before = uncommitted_.find(*file); before != uncommitted_.end()) {
    // Writes answered from here on belong to the next commit.
    written = before->second;
    uncommitted_.erase(before);
  } else if (!adopted_ || state.unstable == PathState::kNone) {
    return Done(op);  // Every write was stable when it was answered.
  } else if (state.unstable == PathState::kOneVerifier) {
    written = state.verifier;
  }
  calls_.To<nfs::Commit>(
      op, {*file, 0, 0}, Touched(*file), [this, op, file = *file, written](auto reply, bool) {
        if (!reply) {
          uncommitted_[file] = std::nullopt;
          return Fail(op, reply.error());
        }
        if (written && reply->verifier == *written) return Done(op);
        log_(GANTRY_LOG_ERROR, "COMMIT: the server was restarted and has lost written data");
        Fail(op, EIO);
      });
}

}  // namespace gantry::nfs

// SPDX-License-Identifier: Apache-2.0
// Reads and writes: cut to what the server takes at once, all parts on the way together, the rest
// of a short answer asked for again.
#include <algorithm>
#include <cerrno>
#include <utility>

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

// Of what is not stable a copy stays in the log, part by part.
struct NfsDataPath::WriteJob {
  gantry_op op;
  FileHandle file;
  uint64_t offset;
  std::span<const std::byte> data;
  Stable stable;
  bool logged;
  Writer writer;
  std::vector<Part> parts;
  size_t open_parts;
  std::optional<NfsError> error;
  struct Logged {
    uint64_t entry = 0;
    Verifier verifier{};    // Of the first answer.
    uint64_t rewrites = 0;  // Before it was asked for.
  };
  std::vector<Logged> logs;  // By part.
};

void NfsDataPath::Write(gantry_op op, const gantry_fs_write& request) {
  const Turn turn(*this);
  const auto file = ToHandle(request.node);
  if (!BeginWith(op, request.context, file)) return;
  if (request.data.len > GANTRY_FS_IO_BYTES_MAX) return Fail(op, EINVAL);
  const bool stable = (request.flags & GANTRY_FS_WRITE_STABLE) != 0;
  const auto length = static_cast<uint32_t>(request.data.len);
  const auto job =
      std::make_shared<WriteJob>(WriteJob{op,
                                          *file,
                                          request.offset,
                                          {static_cast<const std::byte*>(request.data.ptr), length},
                                          Stable::kFileSync,
                                          false,
                                          {},
                                          Cut(length, connection_.state().write_bytes_max),
                                          0,
                                          {},
                                          {}});
  job->open_parts = job->parts.size();
  if (job->parts.empty()) return FinishWrite(*job);
  job->logged = !stable && options_.keeps_writes && job->parts.size() <= kLoggedPartsMax &&
                (uncommitted_.Has(*file) || !IsLone(*file, length)) && KeepsWrites();
  if (!job->logged) return BeginUnlogged(job);
  job->stable = Stable::kUnstable;
  // In parts, so that the server begins with one while it receives the next.
  job->parts = Cut(length, std::min(kUnstablePartBytesMax, connection_.state().write_bytes_max));
  job->open_parts = job->parts.size();
  job->writer = {known_.uid, known_.gid, static_cast<uint32_t>(known_.groups.size()), {}};
  std::ranges::copy(known_.groups, job->writer.groups.begin());
  full_.push_back(job);
  BeginWaitingWrites();
}

// False: there is no memory for it.
bool NfsDataPath::KeepsWrites() {
  if (!logs_writes_) return false;
  const auto prepared = uncommitted_.Prepare();
  if (!prepared)
    log_(GANTRY_LOG_WARNING, prepared.error().message + ": all writes are made stable");
  logs_writes_ = prepared.has_value();
  return logs_writes_;
}

// Stable, and after what was written before is: that could be lost, and be written again over it.
void NfsDataPath::BeginUnlogged(const std::shared_ptr<WriteJob>& job) {
  if (!uncommitted_.Has(job->file)) return BeginWrite(job);
  uncommitted_.Commit(job->op, job->file, Hears::kNothing, [this, job](int) { BeginWrite(job); });
}

bool NfsDataPath::IsLone(const FileHandle& file, uint32_t length) {
  const auto found = std::find(lone_.begin(), lone_.end(), file);
  if (found != lone_.end()) {
    lone_.erase(found);
    return false;
  }
  if (length > kLoneWriteBytesMax) return false;
  lone_.push_back(file);
  if (lone_.size() > kLoneWritesMax) lone_.pop_front();
  return true;
}

// Those of a file in the order of asking, so that none overtakes another. When the log is full, who has
// nothing in it does not wait for those who have; and while files are held nobody waits, because what
// fills it may be theirs.
void NfsDataPath::BeginWaitingWrites() {
  bool full = false;
  const auto may_go = [&](const std::shared_ptr<WriteJob>& job) {
    if (!calls_.Has(job->op)) return true;
    full = full || !uncommitted_.HasRoom(job->data.size(), job->parts.size());
    return !full || !calls_.held().empty() || !uncommitted_.Has(job->file);
  };
  while (true) {
    full = false;
    const auto found = std::ranges::find_if(full_, may_go);
    if (found == full_.end()) return;
    const auto job = *found;
    full_.erase(found);
    again_ = true;
    if (!calls_.Has(job->op)) continue;
    if (!full) {
      BeginWrite(job);
      continue;
    }
    job->logged = false;
    job->stable = Stable::kFileSync;
    BeginUnlogged(job);
  }
}

void NfsDataPath::BeginWrite(const std::shared_ptr<WriteJob>& job) {
  for (const Part& part : job->parts) {
    if (!job->logged) break;
    WriteJob::Logged& log = job->logs.emplace_back();
    log.entry =
        uncommitted_.Note(job->op, job->file, job->offset + part.begin, part.left(), job->writer);
    log.rewrites = uncommitted_.rewrites();
  }
  for (size_t i = 0; i < job->parts.size(); ++i) WritePart(job, i);
  if (!job->logged) return;
  // The server has it before it is copied.
  calls_.Pump();
  connection_.Flush();
  for (size_t i = 0; i < job->parts.size(); ++i)
    uncommitted_.Keep(
        job->logs[i].entry,
        job->data.subspan(job->parts[i].begin, job->parts[i].end - job->parts[i].begin));
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
      if (job->logged)
        NotePiece(*job, index, *reply);
      else
        part.done += reply->count;
      if (part.left() > 0) return WritePart(job, index);
      if (job->logged) uncommitted_.Written(job->logs[index].entry, reply->verifier);
    }
    if (part.left() > 0 && job->logged) DropPart(*job, index);
    if (--job->open_parts == 0) FinishWrite(*job);
  });
}

// Written in pieces, and the server has been another one between two of them, or what is older and was lost
// may have been written again over the first: the part begins anew.
void NfsDataPath::NotePiece(WriteJob& job, size_t index, const WriteReply& reply) {
  Part& part = job.parts[index];
  WriteJob::Logged& log = job.logs[index];
  const bool first = part.done == 0;
  part.done += reply.count;
  if (first) log.verifier = reply.verifier, log.rewrites = uncommitted_.rewrites();
  if (log.verifier != reply.verifier || log.rewrites != uncommitted_.rewrites()) part.done = 0;
}

// What was written of it counts, unless something older may have been written over it since, and is no
// longer the whole of it.
void NfsDataPath::DropPart(WriteJob& job, size_t index) {
  Part& part = job.parts[index];
  const WriteJob::Logged& log = job.logs[index];
  if (log.rewrites != uncommitted_.rewrites()) part.done = 0;
  if (part.done == 0) return uncommitted_.Drop(log.entry);
  uncommitted_.Shorten(log.entry, part.done);
  uncommitted_.Written(log.entry, log.verifier);
}

void NfsDataPath::FinishWrite(const WriteJob& job) {
  const uint32_t written = Contiguous(job.parts);
  if (job.error && written == 0) return Fail(job.op, *job.error);
  calls_.End(job.op);
  host_.done_written(host_.ctx, job.op, written);
}

void NfsDataPath::AfterCommit(gantry_op op, const FileHandle& file, Hears hears,
                              std::function<void()> then) {
  std::erase(lone_, file);
  if (!uncommitted_.MustCommit(file)) return then();
  uncommitted_.Commit(op, file, hears, [this, op, then = std::move(then)](int error_number) {
    if (error_number != 0) return Fail(op, error_number);
    then();
  });
}

void NfsDataPath::Commit(gantry_op op, const gantry_fs_commit& request) {
  const Turn turn(*this);
  const auto file = ToHandle(request.node);
  if (!BeginWith(op, request.context, file)) return;
  if ((request.flags & GANTRY_FS_COMMIT_CLOSE) == 0)
    return AfterCommit(op, *file, Hears::kSettles, [this, op] { Done(op); });
  const int loss = uncommitted_.LossOf(*file);
  if (loss != 0) return Fail(op, loss);
  // What is written is kept, and a killed program closes one file after the other.
  if (!connection_.up() || calls_.IsHeld(*file)) return Done(op);
  AfterCommit(op, *file, Hears::kLoss, [this, op] { Done(op); });
}

}  // namespace gantry::nfs

// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/copy_file.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace gantry::plugin {
namespace {

constexpr int64_t kNsPerS = 1'000'000'000;

uint64_t Mix(uint64_t hash, uint64_t value) {  // 64-bit FNV-1a over the value's bytes.
  for (int i = 0; i < 8; ++i) {
    hash = (hash ^ ((value >> (8 * i)) & 0xff)) * 0x100000001b3ULL;
  }
  return hash;
}

bool IsZero(std::string_view bytes) {
  return bytes.empty() ||
         (bytes[0] == 0 && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

// The length of the zeros at the front, in whole blocks but for the end.
size_t ZerosAt(std::string_view bytes) {
  size_t length = 0;
  while (length < bytes.size() && IsZero(bytes.substr(length, kZeroBlockBytes))) {
    length = std::min(length + kZeroBlockBytes, bytes.size());
  }
  return length;
}

}  // namespace

int64_t MarkOf(const EntryAttributes& source, uint64_t stretches, uint64_t stretch_bytes) {
  uint64_t hash = 0xcbf29ce484222325ULL;
  hash = Mix(hash, stretch_bytes);
  hash = Mix(hash, source.size);
  hash = Mix(hash, static_cast<uint64_t>(source.mtime_ns));
  hash = Mix(hash, static_cast<uint64_t>(source.ctime_ns));
  return static_cast<int64_t>(stretches) * kNsPerS + static_cast<int64_t>(hash % kNsPerS);
}

uint64_t MarkedBytes(const EntryAttributes& made, const EntryAttributes& source,
                     uint64_t stretch_bytes) {
  const auto stretches = static_cast<uint64_t>(std::max<int64_t>(made.atime_ns, 0) / kNsPerS);
  if (stretches == 0 || stretches > source.size / stretch_bytes ||
      made.size < stretches * stretch_bytes ||
      made.atime_ns != MarkOf(source, stretches, stretch_bytes)) {
    return 0;
  }
  return stretches * stretch_bytes;
}

struct FileData::Chunk {
  uint64_t bytes = 0;
  size_t pieces = 0;
};

FileData::FileData(CopyRun& run, const Entry& source, NodeId to, uint64_t from_offset, Then then)
    : run_(run),
      source_(source),
      to_(std::move(to)),
      sparse_(source.attributes.used < source.attributes.size),
      at_once_(source.attributes.size <= run.storage().chunk_bytes()),
      then_(std::move(then)),
      next_(from_offset),
      written_end_(from_offset) {}

void FileData::Begin() {
  if (next_ == 0) return BeginStretch();
  // Whatever has been written behind the mark goes.
  counted_bytes_ = next_;
  run_.CountBytes(static_cast<int64_t>(next_));
  AttributeChange change;
  change.size = next_;
  run_.storage().Change(
      to_, change,
      run_.On<EntryAttributes>(shared_from_this(), [this](const StoreResult<EntryAttributes>& cut) {
        if (!cut) return Stop(Outcome::kFailed, cut.error());
        BeginStretch();
      }));
}

uint64_t FileData::StretchEnd() const {
  return std::min(source_.attributes.size, stretch_ + run_.limits().stretch_bytes);
}

void FileData::BeginStretch() {
  stretch_ = next_;
  counted_stretch_ = 0;
  lost_ = uncommitted_ = false;
  verifier_.reset();
  Pump();
}

bool FileData::Pump() {
  bool sent = false;
  while (!end_ && next_ < StretchEnd() && in_flight_ < run_.limits().file_chunks_in_flight_max) {
    const uint64_t bytes = std::min<uint64_t>(run_.storage().chunk_bytes(), StretchEnd() - next_);
    if (!run_.TakeBuffer(shared_from_this(), bytes)) break;
    ReadChunk(next_, static_cast<uint32_t>(bytes));
    next_ += bytes;
    sent = true;
  }
  return sent;
}

void FileData::ReadChunk(uint64_t offset, uint32_t bytes) {
  ++in_flight_;
  run_.storage().Read(
      source_.id, offset, bytes,
      run_.On<ReadResult>(shared_from_this(), [this, offset, bytes](StoreResult<ReadResult> read) {
        OnRead(offset, bytes, std::move(read));
      }));
}

void FileData::OnRead(uint64_t offset, uint32_t bytes, StoreResult<ReadResult> read) {
  if (IsGone(read)) {
    Stop(Outcome::kVanished);
  } else if (!read) {
    Stop(Outcome::kFailed, read.error());
  } else if (read->data.size() != bytes ||
             (read->attributes && !IsSameVersion(source_.attributes, *read->attributes))) {
    Stop(Outcome::kChanged);
  }
  if (end_) return ChunkEnded(bytes);
  WriteChunk(offset, std::move(read->data));
}

void FileData::WriteChunk(uint64_t offset, std::string data) {
  const auto chunk = std::make_shared<Chunk>();
  chunk->bytes = data.size();
  chunk->pieces = 1;  // This function.
  if (!sparse_) {
    WritePiece(offset, std::move(data), chunk);
  } else {
    const std::string_view all = data;
    size_t piece = 0;  // Where what is to be written begins.
    for (size_t at = 0; at < all.size();) {
      const size_t zeros = ZerosAt(all.substr(at));
      if (zeros >= kHoleBytesMin || at + zeros == all.size() || at == piece) {
        if (at > piece) WritePiece(offset + piece, data.substr(piece, at - piece), chunk);
        piece = at + zeros;
      }
      at += std::max(zeros, kZeroBlockBytes);
    }
    if (piece < all.size()) WritePiece(offset + piece, data.substr(piece), chunk);
  }
  PieceEnded(chunk);
}

void FileData::WritePiece(uint64_t offset, std::string data, const std::shared_ptr<Chunk>& chunk) {
  ++chunk->pieces;
  const uint64_t end = offset + data.size();
  run_.storage().Write(
      to_, offset, std::move(data), at_once_,
      run_.On<WriteResult>(shared_from_this(),
                           [this, end, chunk](const StoreResult<WriteResult>& written) {
                             OnWritten(end, written);
                             PieceEnded(chunk);
                           }));
}

void FileData::OnWritten(uint64_t end, const StoreResult<WriteResult>& written) {
  if (!written) return Stop(Outcome::kFailed, written.error());
  written_end_ = std::max(written_end_, end);
  if (written->durable) return;
  uncommitted_ = true;
  lost_ = lost_ || verifier_.value_or(written->verifier) != written->verifier;
  verifier_ = written->verifier;
}

void FileData::PieceEnded(const std::shared_ptr<Chunk>& chunk) {
  if (--chunk->pieces > 0) return;
  if (!end_) {
    counted_bytes_ += chunk->bytes;
    counted_stretch_ += chunk->bytes;
    run_.CountBytes(static_cast<int64_t>(chunk->bytes));
  }
  ChunkEnded(chunk->bytes);
}

void FileData::ChunkEnded(uint64_t bytes) {
  const auto self = shared_from_this();
  --in_flight_;
  run_.GiveBuffer(bytes);
  Pump();
  if (in_flight_ > 0) return;
  if (end_) return Finish();
  if (next_ == StretchEnd()) EndStretch();
}

// --- the end of a stretch

void FileData::EndStretch() {
  if (written_end_ >= StretchEnd()) return Commit();
  AttributeChange change;
  change.size = StretchEnd();
  run_.storage().Change(to_, change,
                        run_.On<EntryAttributes>(shared_from_this(),
                                                 [this](const StoreResult<EntryAttributes>& sized) {
                                                   if (!sized)
                                                     return Stop(Outcome::kFailed, sized.error());
                                                   written_end_ = StretchEnd();
                                                   Commit();
                                                 }));
}

void FileData::Commit() {
  if (!uncommitted_) return OnDurable();
  run_.storage().Commit(to_,
                        run_.On<WriteVerifier>(shared_from_this(),
                                               [this](const StoreResult<WriteVerifier>& committed) {
                                                 if (!committed)
                                                   return Stop(Outcome::kFailed, committed.error());
                                                 lost_ = lost_ || verifier_ != *committed;
                                                 OnDurable();
                                               }));
}

void FileData::OnDurable() {
  if (lost_) {
    if (++lost_tries_ > kLostWritesMax) {
      return Stop(Outcome::kFailed,
                  {StoreFault::kUnavailable,
                   {code::kUnavailable, "the server keeps losing what was written"}});
    }
    counted_bytes_ -= counted_stretch_;
    run_.CountBytes(-static_cast<int64_t>(counted_stretch_));
    next_ = stretch_;
    return BeginStretch();
  }
  lost_tries_ = 0;
  if (next_ == source_.attributes.size) return Stop(Outcome::kWritten);
  Mark();
}

void FileData::Mark() {
  AttributeChange change;
  change.atime_ns =
      MarkOf(source_.attributes, next_ / run_.limits().stretch_bytes, run_.limits().stretch_bytes);
  run_.storage().Change(to_, change,
                        run_.On<EntryAttributes>(
                            shared_from_this(), [this](const StoreResult<EntryAttributes>& marked) {
                              if (!marked) return Stop(Outcome::kFailed, marked.error());
                              BeginStretch();
                            }));
}

// The first reason counts; it is told when nothing is in flight.
void FileData::Stop(Outcome outcome, StoreError error) {
  if (!end_) end_ = End{outcome, std::move(error), 0};
  if (in_flight_ == 0) Finish();
}

void FileData::Finish() {
  if (!then_) return;
  const auto self = shared_from_this();
  const Then then = std::exchange(then_, nullptr);
  end_->counted_bytes = counted_bytes_;
  then(*end_);
}

}  // namespace gantry::plugin

// SPDX-License-Identifier: Apache-2.0
// Inside tree_copy: the bytes of one file, chunks of it in flight, a stretch at a time. A stretch
// ends with a COMMIT, and is written again when the server has lost any of it meanwhile; behind it
// stands a mark in the atime of what is made, so that a later run goes on from there.
//
// NFSv3 cannot say where holes are (SEEK is of version 4.2), so where a source takes less space than
// its size, zeros are not written.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "plugins/common/async_storage.hpp"
#include "plugins/common/copy_run.hpp"

namespace gantry::plugin {

inline constexpr size_t kZeroBlockBytes = 4'096;    // What is looked at for zeros,
inline constexpr size_t kHoleBytesMin = 64 * 1024;  // and the least that is left out.

// What a file's atime says while it is made: that the first `stretches` of this version of the
// source are written and committed.
int64_t MarkOf(const EntryAttributes& source, uint64_t stretches, uint64_t stretch_bytes);
// Bytes that need not be written again; 0 when it is not the mark of this version.
uint64_t MarkedBytes(const EntryAttributes& made, const EntryAttributes& source,
                     uint64_t stretch_bytes);

class FileData : public std::enable_shared_from_this<FileData> {
 public:
  enum class Outcome : uint8_t {
    kWritten,   // And durable.
    kChanged,   // The source is not what it was.
    kVanished,  // The source is gone.
    kFailed,
  };
  struct End {
    Outcome outcome = Outcome::kWritten;
    StoreError error;            // For kFailed.
    uint64_t counted_bytes = 0;  // Told the run as progress.
  };
  using Then = std::function<void(const End&)>;

  FileData(CopyRun& run, const Entry& source, NodeId to, uint64_t from_offset, Then then);

  // `then` is called once.
  void Begin();
  // Goes on, as far as there is room. True: it has sent something.
  bool Pump();

 private:
  struct Chunk;

  void BeginStretch();
  void ReadChunk(uint64_t offset, uint32_t bytes);
  void OnRead(uint64_t offset, uint32_t bytes, StoreResult<ReadResult> read);
  void WriteChunk(uint64_t offset, std::string data);
  void WritePiece(uint64_t offset, std::string data, const std::shared_ptr<Chunk>& chunk);
  void OnWritten(uint64_t end, const StoreResult<WriteResult>& written);
  void PieceEnded(const std::shared_ptr<Chunk>& chunk);
  void ChunkEnded(uint64_t bytes);
  void EndStretch();
  void Commit();
  void OnDurable();
  void Mark();
  void Stop(Outcome outcome, StoreError error = {});
  void Finish();
  uint64_t StretchEnd() const;

  CopyRun& run_;
  const Entry source_;
  const NodeId to_;
  const bool sparse_;
  const bool at_once_;  // Small enough for one durable write.
  Then then_;
  uint64_t stretch_ = 0;      // The offset where it begins.
  uint64_t next_ = 0;         // To be read.
  uint64_t written_end_ = 0;  // The file's size at the destination, as far as is known.
  size_t in_flight_ = 0;      // Chunks.
  bool uncommitted_ = false;
  bool lost_ = false;
  std::optional<WriteVerifier> verifier_;  // Of this stretch's writes.
  int lost_tries_ = 0;
  uint64_t counted_bytes_ = 0;
  uint64_t counted_stretch_ = 0;  // Of them, this stretch's.
  std::optional<End> end_;
};

}  // namespace gantry::plugin

// SPDX-License-Identifier: Apache-2.0
// Which node id of the kernel is which file of the plugin, in memory that outlives the process. The
// kernel keeps an id as long as it has lookups or opens of it, so ids and counts must be exact in
// every server of the volume: a count too high leaks a record, one too low pulls a file away from
// under the kernel. Counts change by redo records (redo.hpp, lookup_batch.hpp).
//
// One file has one id, however it was reached (hard links, renames): records are found by their
// plugin handle. The hash index is private to the process and rebuilt from the records.
//
// One thread. The table grows by records made present, up to `nodes_max`; beyond it a lookup fails. A
// kernel with memory to spare forgets nothing, so there is room for what a backup of a large tree walks
// over; a record takes a fifth of what the kernel keeps for the same file.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "host/base/error.hpp"
#include "host/datapath/identity.hpp"
#include "host/datapath/lookup_batch.hpp"
#include "host/datapath/memory.hpp"
#include "host/datapath/redo.hpp"

namespace gantry::datapath {

constexpr uint64_t kNodesMagic = 0x3145444f4e544e47;  // "GNTNODE1"
constexpr uint32_t kNodesVersion = 1;
constexpr uint32_t kNodesMax = 4 * 1024 * 1024;
constexpr uint32_t kDiskNodesMax = 1024;  // of a disk, which has two
constexpr uint32_t kNodesStep = 1024;     // made present at a time
constexpr size_t kHandleBytesMax = 128;
constexpr uint32_t kRootNode = 1;  // FUSE_ROOT_ID

// The name of ours that a file has which was removed while it was open (server_removal.cpp).
struct Hidden {
  uint32_t directory = 0;  // a node
  uint32_t uid = 0;        // who removed it
  uint32_t gid = 0;
  uint64_t number = 0;
};

struct NodeRecord {
  std::atomic<uint32_t> used;
  uint32_t generation;  // of the id: it may be given to another file
  uint64_t lookups;     // as the kernel counts them
  uint32_t opens;
  uint32_t handle_bytes;
  std::array<char, kHandleBytesMax> handle;
  // Who opened it for writing last, for pages that are written back without their caller.
  uint32_t writer_uid;
  uint32_t writer_gid;
  std::atomic<uint32_t> has_writer;
  std::atomic<uint32_t> hidden_directory;  // written last; 0: it is not hidden
  uint32_t hidden_uid;
  uint32_t hidden_gid;
  uint64_t hidden_number;
  std::array<char, 8> reserved;
};
static_assert(sizeof(NodeRecord) == 192 && offsetof(NodeRecord, handle) == 24 &&
              offsetof(NodeRecord, hidden_directory) == 164);

struct NodesHeader {
  std::atomic<uint64_t> magic;  // written last
  uint32_t version;
  uint32_t record_bytes;
  std::atomic<uint32_t> high_water;  // records from here on have never been used
};
static_assert(sizeof(NodesHeader) == 24);

constexpr size_t NodesBytes(uint32_t nodes_max) {
  return kPageBytes + size_t{nodes_max} * sizeof(NodeRecord);
}

struct NodeCounts {
  uint64_t nodes = 0;  // without the root
  uint64_t lookups = 0;
  uint64_t opens = 0;
};

class NodeTable {
 public:
  // Maps the table that lies in the memfd from `offset`, and formats it when it is not there.
  // `nodes_max` may be another one than its predecessor's, as long as what is there fits.
  static base::Result<NodeTable> Attach(int memfd, size_t offset, uint32_t nodes_max = kNodesMax);
  NodeTable(NodeTable&&) noexcept;
  NodeTable& operator=(NodeTable&&) = delete;

  // The root's handle; given again by a successor it must be the same (FAILED_PRECONDITION).
  base::Status SetRoot(std::string_view handle);

  bool Has(uint64_t node) const;
  // Valid until the node is dropped.
  std::string_view Handle(uint64_t node) const;
  uint32_t Generation(uint64_t node) const { return At(node).generation; }

  // The id of the handle's node, made with no counts when there is none. RESOURCE_EXHAUSTED,
  // INVALID_ARGUMENT.
  base::Result<uint32_t> Intern(std::string_view handle);
  // The id of the handle's node, if it has one.
  std::optional<uint32_t> Find(std::string_view handle) const;
  uint32_t Opens(uint64_t node) const { return At(node).opens; }
  uint64_t Lookups(uint64_t node) const { return At(node).lookups; }

  // A node that is hidden stays in the table, whatever counts on it.
  void Hide(uint64_t node, const Hidden& hidden);
  std::optional<Hidden> HiddenOf(uint64_t node) const;
  void Unhide(uint64_t node);
  std::optional<uint32_t> AnyHidden() const;

  // Changes the counts exactly once in the life of the redo record's request (its item). False when
  // a count would have fallen below 0; it is 0 then.
  bool Adjust(Redo& redo, uint64_t node, int64_t lookups, int32_t opens, uint32_t item = 0);
  // Whether `redo` says that Adjust has done that part of its request.
  static bool IsAdjusted(const Redo& redo, uint64_t node, uint32_t item = 0);
  // What a predecessor began to change and may not have finished.
  void Finish(Redo& redo);

  // One lookup more of each of these, at most kBatchNodesMax; one may be named several times.
  void AddLookups(const LookupBatch& batch, std::span<const uint32_t> nodes);
  // The opposite, exactly once, of what was added and the kernel has not been told of.
  void TakeBack(const LookupBatch& batch);
  void Finish(const LookupBatch& batch);
  // Nobody so far: nullopt.
  std::optional<Identity::Ids> WriterOf(uint64_t node) const;
  void SetWriter(uint64_t node, Identity::Ids writer);
  // Called with the handle of each id that is freed from now on.
  void OnFreed(std::function<void(std::string_view handle)> fn) { on_freed_ = std::move(fn); }
  // Frees the id when nothing counts on it.
  void DropIfUnused(uint64_t node);
  // The ids that a predecessor made and nobody was told of.
  void DropAllUnused();

  NodeCounts Count() const;

 private:
  struct Hash {
    using is_transparent = void;
    const NodeTable* table;
    size_t operator()(uint32_t node) const { return (*this)(table->Handle(node)); }
    size_t operator()(std::string_view handle) const {
      return std::hash<std::string_view>{}(handle);
    }
  };
  struct Equal {
    using is_transparent = void;
    const NodeTable* table;
    bool operator()(uint32_t a, uint32_t b) const { return a == b; }
    bool operator()(std::string_view a, uint32_t b) const { return a == table->Handle(b); }
    bool operator()(uint32_t a, std::string_view b) const { return b == table->Handle(a); }
  };

  NodeTable(int memfd, size_t offset, uint32_t nodes_max, Mapping mapping);
  NodesHeader& Header() const { return *reinterpret_cast<NodesHeader*>(mapping_.data()); }
  NodeRecord& At(uint64_t node) const {
    return reinterpret_cast<NodeRecord*>(mapping_.data() + kPageBytes)[node];
  }
  base::Status Prepare();
  base::Status MakeReady(uint32_t records);
  void Store(const LookupBatch& batch);

  int memfd_;
  size_t offset_;
  uint32_t nodes_max_;
  Mapping mapping_;
  uint32_t ready_ = 0;  // records that are present
  std::vector<uint32_t> free_;
  std::unordered_set<uint32_t, Hash, Equal> index_;
  std::function<void(std::string_view)> on_freed_;
};

}  // namespace gantry::datapath

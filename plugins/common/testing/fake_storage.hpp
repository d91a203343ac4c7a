// SPDX-License-Identifier: Apache-2.0
// A shared directory tree in memory whose actors can die, lose a reply, or send an operation that
// arrives only long after them, at any step that a test chooses. Handles are never used again, as
// those of a file server with generations.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "plugins/common/storage.hpp"

namespace gantry::plugin::testing {

enum class Fault : uint8_t {
  kNone,
  kDieBefore,   // The operation is never sent.
  kDieAfter,    // It happens, and nobody hears of it.
  kDieDelayed,  // It happens when the test says so.
  kLoseReply,   // It happens, the actor gets an error and lives on.
  kAnswerLate,  // It happens when the test says so; the actor does not wait for it and lives on.
  kRefuse,      // It does not happen, the actor gets an error and lives on.
};

// The tree. One thread at a time.
class World {
 public:
  struct Inode {
    NodeType type = NodeType::kDirectory;
    std::string content;
    std::map<std::string, uint64_t, std::less<>> children;
    uint64_t parent = 0;
    uint32_t links = 1;
    uint64_t fsid = 1;
    int64_t mtime_ns = 0;
    Ownership ownership;
  };

  World() { inodes_[kRoot] = {}; }

  NodeId root() const { return std::to_string(kRoot); }
  void Advance(int64_t milliseconds) { now_ns_ += milliseconds * 1'000'000; }
  void RunDelayed() {
    for (auto& late : std::exchange(delayed_, {})) late();
  }
  bool HasDelayed() const { return !delayed_.empty(); }

  // What a person does on the server itself: no faults.
  void MakePath(const std::string& path, NodeType type, const std::string& content = "");
  void SetFilesystem(const std::string& path, uint64_t fsid) { inodes_[*Find(path)].fsid = fsid; }
  bool Has(const std::string& path) const { return Find(path).has_value(); }
  std::string Content(const std::string& path) const { return inodes_.at(*Find(path)).content; }
  uint64_t FileId(const std::string& path) const { return *Find(path); }
  Ownership OwnershipOf(const std::string& path) const { return inodes_.at(*Find(path)).ownership; }
  void MoveByHand(const std::string& from, const std::string& to);
  // All paths, directories with a '/' at the end.
  std::set<std::string> Paths() const;

 private:
  friend class FakeStorage;
  static constexpr uint64_t kRoot = 1;

  std::optional<uint64_t> Find(const std::string& path) const;
  Inode* Get(const NodeId& id);
  Inode* Directory(const NodeId& id);
  Node NodeOf(uint64_t inode) const;
  uint64_t Add(const NodeId& directory, std::string_view name, Inode inode);
  void Unlink(uint64_t inode);
  void List(uint64_t inode, const std::string& path, std::set<std::string>* paths) const;

  std::map<uint64_t, Inode> inodes_;
  uint64_t next_ = 2;
  int64_t now_ns_ = 1'000'000'000'000'000;
  std::vector<std::function<void()>> delayed_;
};

// One actor. `before` is asked ahead of each operation (it may wait for the actor's turn).
class FakeStorage final : public Storage {
 public:
  using Before = std::function<Fault()>;
  explicit FakeStorage(World& world, Before before = nullptr)
      : world_(world), before_(std::move(before)) {}

  bool dead() const { return dead_; }
  size_t operations() const { return operations_; }

  StoreResult<Node> Lookup(const NodeId& directory, std::string_view name) override;
  StoreResult<std::vector<Listed>> List(const NodeId& directory, size_t names_max) override;
  StoreResult<std::string> ReadFile(const NodeId& file, size_t bytes_max) override;
  StoreResult<Node> MakeDirectory(const NodeId& directory, std::string_view name,
                                  const Ownership& ownership) override;
  StoreResult<Node> CreateFile(const NodeId& directory, std::string_view name,
                               std::string_view content) override;
  StoreStatus Link(const NodeId& file, const NodeId& directory, std::string_view name) override;
  StoreStatus Rename(const NodeId& from, std::string_view from_name, const NodeId& to,
                     std::string_view to_name) override;
  StoreStatus Remove(const NodeId& directory, std::string_view name) override;
  StoreStatus RemoveDirectory(const NodeId& directory, std::string_view name) override;
  StoreResult<int64_t> Touch(const NodeId& file) override;
  StoreStatus Change(const NodeId& node, const OwnershipChange& change) override;
  void GiveWay(int) override {}  // Who goes on is the schedule's to say.

 private:
  template <class T>
  StoreResult<T> Do(std::function<StoreResult<T>()> operation);

  World& world_;
  const Before before_;
  bool dead_ = false;
  size_t operations_ = 0;
};

}  // namespace gantry::plugin::testing

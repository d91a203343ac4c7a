// SPDX-License-Identifier: Apache-2.0
// An asynchronous storage in memory, as a file server behaves: handles that die with their file and
// never come again, a clock of its own with ticks, unstable writes that a restart loses, operations
// that happen in any order, happen twice, or happen after the client has gone. What goes wrong, and
// what other clients do meanwhile, a test says ahead of each operation.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "plugins/common/async_storage.hpp"

namespace gantry::plugin::testing {

class FakeTree final : public AsyncStorage {
 public:
  struct Inode {
    EntryAttributes attributes;
    std::string content;  // Of a file; of a symlink the target.
    std::map<std::string, uint64_t, std::less<>> children;
    std::set<uint64_t> blocks;             // Of a file, on disk.
    std::optional<std::string> committed;  // The content, while there is more than that.
    uint32_t names = 0;
  };
  // An operation as it is about to happen.
  struct Happening {
    std::string_view what;  // The interface's function.
    NodeId id;              // The file or directory it is about.
    std::string name;       // In that directory, or empty.
    uint64_t number = 0;    // From 1.
  };
  using Before = std::function<std::optional<StoreFault>(const Happening&)>;

  FakeTree();

  // --- for tests: what is there, by paths below the root

  NodeId root() const { return std::to_string(kRoot); }
  NodeId IdOf(const std::string& path) const;
  Inode& At(const std::string& path);
  bool Has(const std::string& path) const { return Find(path).has_value(); }
  void MakePath(const std::string& path, EntryKind kind, const std::string& content = "");
  void LinkPath(const std::string& to, const std::string& path);
  void RemovePath(const std::string& path);  // With all that is in it.
  void MovePath(const std::string& from, const std::string& to);
  void Overwrite(const std::string& path, const std::string& content);
  // Everything about what is in a directory that a copy must show, a line an entry.
  std::map<std::string, std::string> Describe(const std::string& path) const;
  uint64_t operations() const { return operations_; }
  size_t outstanding_max() const { return outstanding_max_; }
  size_t page_names_max = 7;
  uint32_t chunk = 1'000;
  std::chrono::nanoseconds operation_takes{20'000};

  // --- for tests: what happens

  void SetBefore(Before before) { before_ = std::move(before); }
  void Shuffle(uint64_t seed) { random_.emplace(seed); }
  // That many of a thousand operations happen twice, the second one's reply being the one that
  // comes, as after a lost connection.
  void RepeatSome(unsigned per_mille) { repeat_per_mille_ = per_mille; }
  // What was not committed is gone.
  void RestartServer();
  // Bytes that may still be written.
  void SetRoom(uint64_t bytes) { room_bytes_ = bytes; }
  void SetTick(int64_t ns) { tick_ns_ = ns; }
  // What has been abandoned happens now, or some of it.
  void RunLate();

  // --- AsyncStorage

  void GetAttributes(const NodeId& id, Done<EntryAttributes> done) override;
  void Lookup(const NodeId& directory, std::string_view name, Done<Entry> done) override;
  void List(const NodeId& directory, const ListPosition& from, Done<ListPage> done) override;
  void Remove(const NodeId& directory, std::string_view name, Done<void> done) override;
  void RemoveDirectory(const NodeId& directory, std::string_view name, Done<void> done) override;
  void Wait(TimePoint until) override;
  TimePoint Now() const override { return now_; }
  size_t outstanding() const override { return pending_.size(); }
  void Abandon() override;
  uint32_t chunk_bytes() const override { return chunk; }
  void Read(const NodeId& file, uint64_t offset, uint32_t bytes, Done<ReadResult> done) override;
  void Write(const NodeId& file, uint64_t offset, std::string data, bool durable,
             Done<WriteResult> done) override;
  void Commit(const NodeId& file, Done<WriteVerifier> done) override;
  void CreateFile(const NodeId& directory, std::string_view name, uint32_t mode,
                  Done<Entry> done) override;
  void MakeDirectory(const NodeId& directory, std::string_view name, uint32_t mode,
                     Done<Entry> done) override;
  void MakeSymlink(const NodeId& directory, std::string_view name, std::string_view target,
                   Done<Entry> done) override;
  void ReadSymlink(const NodeId& link, Done<std::string> done) override;
  void MakeSpecial(const NodeId& directory, std::string_view name, const EntryAttributes& like,
                   Done<Entry> done) override;
  void Link(const NodeId& id, const NodeId& directory, std::string_view name,
            Done<void> done) override;
  void Change(const NodeId& id, const AttributeChange& change, Done<EntryAttributes> done) override;

 private:
  static constexpr uint64_t kRoot = 1;
  struct Pending {
    std::function<void()> happen;  // Without its reply.
    std::function<void()> answer;  // Happens and answers.
  };

  template <class T>
  void Submit(std::string_view what, const NodeId& id, std::string_view name,
              std::function<StoreResult<T>()> operation, Done<T> done);
  std::optional<uint64_t> Find(const std::string& path) const;
  Inode* Get(const NodeId& id);
  Inode* Directory(const NodeId& id);
  StoreResult<Entry> Add(const NodeId& directory, std::string_view name, EntryKind kind,
                         uint32_t mode, std::string content);
  StoreResult<void> Take(const NodeId& directory, std::string_view name, bool want_directory);
  void Drop(uint64_t number);
  EntryAttributes AttributesOf(uint64_t number) const;
  int64_t StorageNow() const;
  void Touch(Inode* inode, bool content);
  void Store(Inode* inode, uint64_t offset, const std::string& data);
  void DescribeBelow(uint64_t number, const std::string& path,
                     std::map<uint64_t, std::string>* first_names,
                     std::map<std::string, std::string>* all) const;

  std::map<uint64_t, Inode> inodes_;
  uint64_t next_ = 2;
  TimePoint now_{std::chrono::hours(1)};
  int64_t tick_ns_ = 1'000;
  WriteVerifier verifier_ = 1;
  uint64_t room_bytes_ = UINT64_MAX;
  std::vector<Pending> pending_;
  std::vector<Pending> late_;
  Before before_;
  std::optional<std::mt19937_64> random_;
  unsigned repeat_per_mille_ = 0;
  uint64_t operations_ = 0;
  size_t outstanding_max_ = 0;
};

}  // namespace gantry::plugin::testing

// SPDX-License-Identifier: Apache-2.0
// What the tests of the record protocol have in common: actors on the fake storage, and what a share
// has to look like afterwards.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "plugins/common/testing/async_over.hpp"
#include "plugins/common/testing/fake_storage.hpp"
#include "plugins/common/trash.hpp"
#include "plugins/common/volumes.hpp"

namespace gantry::plugin::testing {

inline constexpr int64_t kHourMs = 3'600'000;
inline constexpr size_t kStepsMax = 200;  // No operation of the protocol takes as many.

// Never the same twice, also of two actors of one name.
inline MakeNonce Nonces(const std::string& who) {
  static std::atomic<int> count{0};
  return [who] { return who + "-" + std::to_string(++count); };
}

inline VolumeSpec Spec(const std::string& handle, const std::string& path,
                       Disposal disposal = Disposal::kDelete) {
  VolumeSpec spec;
  spec.handle = handle;
  spec.name = "pvc-" + handle;
  spec.owner = "cluster";
  spec.required_bytes = 1000;
  spec.path = ParseSubDir(path);
  spec.disposal = disposal;
  spec.parameters = {{"share", "/vol"}};
  return spec;
}

// Fails at the step of that number, never before or after.
inline FakeStorage::Before At(size_t step, Fault fault) {
  return [step, fault, n = size_t{0}]() mutable { return n++ == step ? fault : Fault::kNone; };
}

template <class T>
std::string Failure(const Result<T>& result) {
  return result ? "" : result.error().message;
}

class Actor {
 public:
  Actor(World& world, const std::string& who, FakeStorage::Before before = nullptr)
      : storage_(world, std::move(before)), nonces_(Nonces(who)), root_(world.root()) {}

  Result<Record> Create(const VolumeSpec& spec) {
    GANTRY_PLUGIN_TRY_ASSIGN(const Layout layout, OpenLayout(storage_, root_));
    return Volumes(storage_, layout, "cluster", nonces_).Create(spec);
  }
  // Adopts the directory, and deletes it then.
  Result<std::optional<DeletedVolume>> DeleteForeign(const VolumeSpec& spec) {
    GANTRY_PLUGIN_TRY_ASSIGN(const Layout layout, OpenLayout(storage_, root_));
    Volumes volumes(storage_, layout, "cluster", nonces_);
    GANTRY_PLUGIN_TRY_ASSIGN(const auto record, volumes.Adopt(spec));
    if (!record) return std::nullopt;
    GANTRY_PLUGIN_TRY_ASSIGN(DeletedVolume deleted, volumes.Delete(spec.handle));
    return deleted;
  }
  Result<DeletedVolume> Delete(const std::string& handle) {
    GANTRY_PLUGIN_TRY_ASSIGN(const Layout layout, OpenLayout(storage_, root_));
    return Volumes(storage_, layout, "cluster", nonces_).Delete(handle);
  }
  Result<Record> Expand(const std::string& handle, uint64_t bytes) {
    GANTRY_PLUGIN_TRY_ASSIGN(const Layout layout, OpenLayout(storage_, root_));
    return Volumes(storage_, layout, "cluster", nonces_).Expand(handle, bytes, 0);
  }
  Result<Record> Get(const std::string& handle) {
    GANTRY_PLUGIN_TRY_ASSIGN(const Layout layout, OpenLayout(storage_, root_));
    return Volumes(storage_, layout, "cluster", nonces_).Get(handle);
  }
  Result<std::vector<std::string>> List(const std::string& after = "", size_t max = SIZE_MAX) {
    GANTRY_PLUGIN_TRY_ASSIGN(const Layout layout, OpenLayout(storage_, root_));
    std::vector<std::string> handles;
    GANTRY_PLUGIN_TRY(
        Volumes(storage_, layout, "cluster", nonces_).List(after, [&](const Record& record) {
          handles.push_back(record.handle);
          return handles.size() < max;
        }));
    return handles;
  }
  Result<Presence> Look(const Record& record) {
    GANTRY_PLUGIN_TRY_ASSIGN(const Layout layout, OpenLayout(storage_, root_));
    return Volumes(storage_, layout, "cluster", nonces_).Look(record);
  }
  Result<TrashRun> EmptyTrash(uint64_t removals_max = kRemovalsPerRunMax) {
    GANTRY_PLUGIN_TRY_ASSIGN(const Layout layout, OpenLayout(storage_, root_));
    return Trash(
               storage_, tree_, layout, nonces_, [] { return false; }, removals_max)
        .Run();
  }
  bool dead() const { return storage_.dead(); }
  size_t operations() const { return storage_.operations(); }

 private:
  FakeStorage storage_;
  AsyncOver tree_{storage_};
  MakeNonce nonces_;
  NodeId root_;
};

// What is on the share, without the empty directories in claims/ and volumes/ that a late MKDIR may
// have left: the next volume of that path or name takes them.
inline std::set<std::string> Tidied(const World& world) {
  std::set<std::string> paths = world.Paths();
  for (bool again = true; again;) {
    again = false;
    for (auto it = paths.begin(); it != paths.end(); ++it) {
      const bool litter = (it->starts_with(".gantry/claims/") && *it != ".gantry/claims/") ||
                          (it->starts_with(".gantry/volumes/") && *it != ".gantry/volumes/");
      const auto next = std::next(it);
      if (litter && it->ends_with('/') && (next == paths.end() || !next->starts_with(*it))) {
        paths.erase(it);
        again = true;
        break;
      }
    }
  }
  return paths;
}

inline const std::set<std::string> kNothing = {".gantry/", ".gantry/attempts/", ".gantry/claims/",
                                               ".gantry/trash/", ".gantry/volumes/"};

inline std::set<std::string> With(std::set<std::string> paths,
                                  std::initializer_list<std::string> more) {
  paths.insert(more);
  return paths;
}

// The task, after the time in which attempts may be somebody's.
inline void EmptyTrash(World& world) {
  world.Advance(kHourMs);
  Actor actor(world, "trash");
  const auto run = actor.EmptyTrash();
  ASSERT_TRUE(run) << run.error().message;
  EXPECT_EQ(run->stuck, "");
}

inline void ExpectVolume(World& world, const std::string& handle, const std::string& path) {
  Actor actor(world, "check");
  const auto record = actor.Get(handle);
  ASSERT_TRUE(record) << record.error().message;
  EXPECT_TRUE(record->created);
  EXPECT_EQ(Join(record->path), path);
  ASSERT_TRUE(world.Has(path));
  EXPECT_EQ(record->fileid, world.FileId(path));
}

}  // namespace gantry::plugin::testing

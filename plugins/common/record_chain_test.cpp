// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/record_chain.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "plugins/common/testing/actor.hpp"

namespace gantry::plugin {
namespace {

using namespace testing;  // NOLINT: all of it is for this.

constexpr size_t kCoveringStep = 3;  // Of Publish: CREATE, WRITE, LINK, RENAME.
constexpr unsigned kVersions = 5;

// A version is published, and its writer may die before it has covered the one before.
void PublishNext(World& world, const NodeId& volumes, RecordState state, bool dies,
                 std::vector<NodeId>* files) {
  FakeStorage reader(world);
  const auto chain = LoadChain(reader, volumes, "h");
  ASSERT_TRUE(chain && *chain);
  Record record;
  if ((*chain)->current) record = (*chain)->current->record;
  record.handle = "h";
  record.path = {"p"};
  record.state = state;
  FakeStorage writer(world, dies ? At(kCoveringStep, Fault::kDieBefore) : nullptr);
  const uint64_t number = files->size() + 1;
  (void)Publish(writer, **chain, number, record, Nonces("W"));
  const auto file = reader.Lookup((*chain)->directory, std::to_string(number));
  ASSERT_TRUE(file);
  files->push_back(file->id);
}

TEST(RecordChain, EndsEveryFileThatMayBeLinkedAsAClaimWhoeverDiedBeforeCovering) {
  for (unsigned creating = 1; creating < kVersions; ++creating) {
    for (unsigned deaths = 0; deaths < 1u << kVersions; ++deaths) {
      SCOPED_TRACE(std::to_string(creating) + " creating, deaths " + std::to_string(deaths));
      World world;
      FakeStorage storage(world);
      const auto volumes = storage.MakeDirectory(world.root(), "volumes", {});
      ASSERT_TRUE(volumes && storage.MakeDirectory(volumes->id, "h", {}));
      std::vector<NodeId> files;
      for (unsigned i = 0; i < kVersions; ++i) {
        const bool dies = i > 0 && (deaths >> i & 1) != 0;
        ASSERT_NO_FATAL_FAILURE(PublishNext(
            world, volumes->id, i < creating ? RecordState::kCreating : RecordState::kDeleting,
            dies, &files));
      }
      // As the deleter who won the last version does, without having died.
      ASSERT_NO_FATAL_FAILURE(
          PublishNext(world, volumes->id, RecordState::kDeleting, false, &files));
      const auto chain = LoadChain(storage, volumes->id, "h");
      ASSERT_TRUE(chain && *chain);
      EXPECT_EQ((*chain)->current->record.creating_until, creating);
      ASSERT_TRUE(EndOlder(storage, **chain, NodeId(), Nonces("E")));
      for (unsigned i = 0; i < creating; ++i) {
        EXPECT_FALSE(storage.Link(files[i], volumes->id, "claim")) << "version " << i + 1;
      }
      for (const auto& path : world.Paths()) EXPECT_EQ(path.find(".new-"), path.npos) << path;
    }
  }
}

}  // namespace
}  // namespace gantry::plugin

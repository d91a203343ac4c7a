// SPDX-License-Identifier: Apache-2.0
#include "host/datapath/disk_volume.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>
#include <map>
#include <memory>
#include <vector>

namespace gantry::datapath {
namespace {

constexpr uint64_t kBytes = 1 << 20;
constexpr uint32_t kBlock = 4096;
constexpr gantry_disk_facts kFacts{kBytes, kBlock, 65536};

// A plugin that notes what it is asked, and the server's ends of operations.
struct Both {
  std::vector<gantry_op> opened;
  std::vector<gantry_op> refreshed;
  std::vector<gantry_op> interrupted;
  std::map<gantry_op, gantry_disk_read> reads;
  std::map<gantry_op, gantry_disk_write> writes;
  std::map<gantry_op, gantry_disk_range> discards;
  std::map<gantry_op, gantry_disk_range> zeroes;
  std::vector<gantry_op> flushes;

  std::map<gantry_op, int32_t> errors;
  std::map<gantry_op, uint64_t> sizes;  // of done_attributes
  std::map<gantry_op, std::string> nodes;
  std::map<gantry_op, uint32_t> lengths;
  gantry_fs_statfs statfs{};
};

Both& Of(void* ctx) { return *static_cast<Both*>(ctx); }
Both& Of(gantry_instance* instance) { return *reinterpret_cast<Both*>(instance); }

gantry_datapath_host Ends(Both& both) {
  gantry_datapath_host t{};
  t.size = sizeof t;
  t.ctx = &both;
  t.done_error = [](void* ctx, gantry_op op, int32_t error) { Of(ctx).errors[op] = error; };
  t.done_attributes = [](void* ctx, gantry_op op, const gantry_fs_attributes* a) {
    Of(ctx).sizes[op] = a->size_bytes;
  };
  t.done_node = [](void* ctx, gantry_op op, gantry_bytes node, const gantry_fs_attributes*) {
    Of(ctx).nodes[op] = std::string(static_cast<const char*>(node.ptr), node.len);
  };
  t.done_data = [](void* ctx, gantry_op op, uint32_t length) { Of(ctx).lengths[op] = length; };
  t.done_statfs = [](void* ctx, gantry_op, const gantry_fs_statfs* s) { Of(ctx).statfs = *s; };
  return t;
}

gantry_disk Plugin() {
  gantry_disk t{};
  t.size = sizeof t;
  t.open = [](gantry_instance* i, gantry_op op, const gantry_disk_open*) {
    Of(i).opened.push_back(op);
  };
  t.interrupt = [](gantry_instance* i, gantry_op op) { Of(i).interrupted.push_back(op); };
  t.read = [](gantry_instance* i, gantry_op op, const gantry_disk_read* r) {
    Of(i).reads[op] = *r;
  };
  t.write = [](gantry_instance* i, gantry_op op, const gantry_disk_write* r) {
    Of(i).writes[op] = *r;
  };
  t.flush = [](gantry_instance* i, gantry_op op) { Of(i).flushes.push_back(op); };
  t.discard = [](gantry_instance* i, gantry_op op, const gantry_disk_range* r) {
    Of(i).discards[op] = *r;
  };
  t.zero = [](gantry_instance* i, gantry_op op, const gantry_disk_range* r) {
    Of(i).zeroes[op] = *r;
  };
  t.refresh = [](gantry_instance* i, gantry_op op) { Of(i).refreshed.push_back(op); };
  return t;
}

class DiskVolumeTest : public ::testing::Test {
 protected:
  void Make(const gantry_disk& plugin = Plugin(), uint64_t expected_bytes = kBytes) {
    volume_ = std::make_unique<DiskVolume>(
        Ends(both_), &plugin, reinterpret_cast<gantry_instance*>(&both_),
        DiskVolume::Expected{"naa.1", expected_bytes}, [](wire::LogLevel, std::string_view) {});
  }
  gantry_op Next() {
    ++sequence_;
    return MakeId(sequence_, static_cast<uint32_t>(sequence_ % kSlotsMax));
  }
  void Open(const gantry_disk& plugin = Plugin()) {
    Make(plugin);
    const gantry_datapath_open request{sizeof request, 0, {nullptr, 0}, {"v", 1}};
    const gantry_op op = Next();
    table().open(volume_->instance(), op, &request);
    ASSERT_TRUE(volume_->DoneDisk(op, kFacts));
    root_ = both_.nodes.at(op);
    gantry_fs_name name{};
    name.directory = {root_.data(), root_.size()};
    name.name = {"disk", 4};
    const gantry_op lookup = Next();
    table().lookup(volume_->instance(), lookup, &name);
    disk_ = both_.nodes.at(lookup);
  }
  const gantry_datapath& table() const { return *DiskVolume::Table(); }
  gantry_bytes disk() const { return {disk_.data(), disk_.size()}; }

  gantry_op Getattr() {
    gantry_fs_node request{};
    request.node = disk();
    const gantry_op op = Next();
    table().getattr(volume_->instance(), op, &request);
    return op;
  }
  gantry_op Read(uint64_t offset, uint32_t length) {
    gantry_fs_read request{};
    request.node = disk();
    request.offset = offset;
    request.length = length;
    const gantry_op op = Next();
    table().read(volume_->instance(), op, &request);
    return op;
  }
  gantry_op Write(uint64_t offset, size_t length, uint32_t flags = 0, uint32_t context = 0) {
    gantry_fs_write request{};
    request.context.flags = context;
    request.node = disk();
    request.flags = flags;
    request.offset = offset;
    request.data = {"", length};
    const gantry_op op = Next();
    table().write(volume_->instance(), op, &request);
    return op;
  }
  gantry_op Allocate(int32_t mode, uint64_t offset, uint64_t length) {
    gantry_fs_allocate request{};
    request.node = disk();
    request.mode = mode;
    request.offset = offset;
    request.length = length;
    const gantry_op op = Next();
    table().allocate(volume_->instance(), op, &request);
    return op;
  }

  Both both_;
  std::unique_ptr<DiskVolume> volume_;
  std::string root_;
  std::string disk_;
  uint64_t sequence_ = 0;
};

TEST_F(DiskVolumeTest, RefusesADiskThatIsTooSmallOrNone) {
  Make();
  const gantry_datapath_open request{sizeof request, 0, {nullptr, 0}, {"v", 1}};
  for (const auto& [facts, error] :
       std::map<uint64_t, int32_t>{{kBytes - kBlock, ENODEV}, {kBytes + 1, EIO}}) {
    const gantry_op op = Next();
    table().open(volume_->instance(), op, &request);
    EXPECT_TRUE(volume_->DoneDisk(op, {facts, kBlock, 0}));
    EXPECT_EQ(both_.errors.at(op), error) << facts;
  }
  for (const uint32_t block : {0U, 256U, 3 * 512U, 8192U}) {
    const gantry_op op = Next();
    table().open(volume_->instance(), op, &request);
    EXPECT_TRUE(volume_->DoneDisk(op, {uint64_t{kBytes} * 3, block, 0}));
    EXPECT_EQ(both_.errors.at(op), EIO) << block;
  }
}

TEST_F(DiskVolumeTest, AnErrorOfOpenAndALateDoneAreTheServers) {
  Make();
  const gantry_datapath_open request{sizeof request, 0, {nullptr, 0}, {"v", 1}};
  const gantry_op op = Next();
  table().open(volume_->instance(), op, &request);
  EXPECT_FALSE(volume_->DoneError(op, ECONNREFUSED));
  EXPECT_FALSE(volume_->DoneDisk(op, kFacts));
}

TEST_F(DiskVolumeTest, ReadsEndAtTheEndAndWritesBeyondItAreRefused) {
  Open();
  EXPECT_EQ(both_.reads.at(Read(0, kBlock)).length, kBlock);
  EXPECT_EQ(both_.reads.at(Read(kBytes - kBlock, 4 * kBlock)).length, kBlock);
  EXPECT_EQ(both_.lengths.at(Read(kBytes, kBlock)), 0U);
  EXPECT_EQ(both_.lengths.at(Read(UINT64_MAX - kBlock + 1, kBlock)), 0U);
  EXPECT_EQ(both_.errors.at(Read(512, kBlock)), EINVAL);
  EXPECT_EQ(both_.errors.at(Read(0, 512)), EINVAL);
  EXPECT_EQ(both_.errors.at(Write(0, 512)), EINVAL);
  EXPECT_EQ(both_.errors.at(Write(kBytes - kBlock, 2 * kBlock)), ENOSPC);
  EXPECT_EQ(both_.errors.at(Write(UINT64_MAX - kBlock + 1, kBlock)), ENOSPC);
  EXPECT_TRUE(both_.writes.empty());
}

TEST_F(DiskVolumeTest, PassesOnWhatIsForcedAndWhatIsReplayed) {
  Open();
  EXPECT_EQ(both_.writes.at(Write(0, kBlock)).flags, 0U);
  EXPECT_EQ(both_.writes.at(Write(0, kBlock, GANTRY_FS_WRITE_STABLE)).flags,
            uint32_t{GANTRY_DISK_FORCE_UNIT_ACCESS});
  EXPECT_EQ(both_.writes.at(Write(0, kBlock, 0, GANTRY_FS_REPLAYED)).flags,
            uint32_t{GANTRY_DISK_REPLAYED});
}

TEST_F(DiskVolumeTest, APunchIsADiscardOrElseAZeroThatMayUnmap) {
  Open();
  EXPECT_EQ(both_.discards.at(Allocate(GANTRY_FS_ALLOCATE_PUNCH, kBlock, kBlock)).offset, kBlock);
  EXPECT_EQ(both_.zeroes.at(Allocate(GANTRY_FS_ALLOCATE_ZERO, 0, kBlock)).flags, 0U);
  EXPECT_EQ(both_.errors.at(Allocate(GANTRY_FS_ALLOCATE_PUNCH, 1, kBlock)), EINVAL);
  EXPECT_EQ(both_.errors.at(Allocate(GANTRY_FS_ALLOCATE_ZERO, kBytes, kBlock)), ENOSPC);
  gantry_disk plugin = Plugin();
  plugin.discard = nullptr;
  Open(plugin);
  EXPECT_EQ(both_.zeroes.at(Allocate(GANTRY_FS_ALLOCATE_PUNCH, 0, kBlock)).flags,
            uint32_t{GANTRY_DISK_MAY_UNMAP});
  plugin.zero = nullptr;
  Open(plugin);
  EXPECT_EQ(both_.errors.at(Allocate(GANTRY_FS_ALLOCATE_PUNCH, 0, kBlock)), EOPNOTSUPP);
  EXPECT_EQ(both_.errors.at(Allocate(GANTRY_FS_ALLOCATE_ZERO, 0, kBlock)), EOPNOTSUPP);
}

TEST_F(DiskVolumeTest, EveryGetattrIsAnsweredByAQuestionThatCameAfterIt) {
  Open();
  const gantry_op first = Getattr();
  ASSERT_EQ(both_.refreshed.size(), 1U);
  const gantry_op second = Getattr();
  const gantry_op third = Getattr();
  EXPECT_EQ(both_.refreshed.size(), 1U);
  ASSERT_TRUE(volume_->DoneDisk(both_.refreshed[0], kFacts));
  EXPECT_EQ(both_.sizes, (std::map<gantry_op, uint64_t>{{first, kBytes}}));
  EXPECT_EQ(both_.refreshed.size(), 1U);  // not from within the plugin's done
  volume_->Pump();
  ASSERT_EQ(both_.refreshed.size(), 2U);
  ASSERT_TRUE(volume_->DoneDisk(both_.refreshed[1], {2 * kBytes, kBlock, 0}));
  EXPECT_EQ(both_.sizes.at(second), 2 * kBytes);
  EXPECT_EQ(both_.sizes.at(third), 2 * kBytes);
  volume_->Pump();
  EXPECT_EQ(both_.refreshed.size(), 2U);
}

TEST_F(DiskVolumeTest, AFailedRefreshFailsTheGetattrAndASmallerDiskIsNotBelieved) {
  Open();
  const gantry_op failed = Getattr();
  EXPECT_TRUE(volume_->DoneError(both_.refreshed.back(), EIO));
  EXPECT_EQ(both_.errors.at(failed), EIO);
  const gantry_op smaller = Getattr();
  EXPECT_TRUE(volume_->DoneDisk(both_.refreshed.back(), {kBytes / 2, kBlock, 0}));
  EXPECT_EQ(both_.sizes.at(smaller), kBytes);
}

TEST_F(DiskVolumeTest, AnInterruptedGetattrEndsAndOthersAreThePlugins) {
  Open();
  const gantry_op first = Getattr();
  const gantry_op second = Getattr();
  for (const gantry_op op : {first, second}) {
    table().interrupt(volume_->instance(), op);
    EXPECT_EQ(both_.errors.at(op), EINTR);
  }
  EXPECT_TRUE(both_.interrupted.empty());
  EXPECT_TRUE(volume_->DoneDisk(both_.refreshed.back(), kFacts));
  EXPECT_TRUE(both_.sizes.empty());
  const gantry_op read = Read(0, kBlock);
  table().interrupt(volume_->instance(), read);
  EXPECT_EQ(both_.interrupted, std::vector<gantry_op>{read});
}

TEST_F(DiskVolumeTest, TellsTheGranularityOfDiscardsAsItsBlocks) {
  Open();
  gantry_fs_node request{};
  request.node = disk();
  table().statfs(volume_->instance(), Next(), &request);
  EXPECT_EQ(both_.statfs.block_bytes, 65536U);
  EXPECT_EQ(both_.statfs.total_bytes, kBytes);
}

}  // namespace
}  // namespace gantry::datapath

// SPDX-License-Identifier: Apache-2.0
// A disk whose target, connection or process goes away, and two that fight for one (tgtd).
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "plugins/iscsi/datapath/testing/disk_fixture_test.hpp"
#include "plugins/iscsi/datapath/testing/relay.hpp"

namespace gantry::iscsi::test {
namespace {

constexpr size_t kDepth = 32;
constexpr size_t kPieceBytes = 128 * 1024;
constexpr milliseconds kResumeMsMax{2000};
constexpr double kIdleCpuShareMax = 0.3;

// How long a target is away in these tests; the real thing is minutes.
seconds Outage() {
  const char* text = std::getenv("GANTRY_ISCSI_OUTAGE_S");
  return seconds(text != nullptr ? std::atoi(text) : 3);
}

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto of = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return of(usage.ru_utime) + of(usage.ru_stime);
}

// Writes under way, each at a place of its own.
class Load {
 public:
  explicit Load(Disk& disk, uint64_t seed = 1) : disk_(disk) {
    for (size_t i = 0; i < kDepth; ++i) data_.push_back(Pattern(kPieceBytes, seed + i));
    for (size_t i = 0; i < kDepth; ++i) ops_.push_back(disk.Write(i * kPieceBytes, data_[i]));
  }
  // All end well and are there.
  void Check() {
    for (const gantry_op op : ops_) EXPECT_EQ(disk_.Wait(op), 0) << disk_.log();
    ops_.clear();
    for (size_t i = 0; i < kDepth; ++i) {
      EXPECT_EQ(disk_.ReadBack(i * kPieceBytes, kPieceBytes), data_[i]) << i;
    }
  }
  void CheckAllFail(int error_number) {
    for (const gantry_op op : ops_) EXPECT_EQ(disk_.Wait(op), error_number) << disk_.log();
    ops_.clear();
  }
  size_t UnderWay() const {
    return static_cast<size_t>(std::count_if(
        ops_.begin(), ops_.end(), [&](gantry_op op) { return disk_.host().IsUnderWay(op); }));
  }

 private:
  Disk& disk_;
  std::vector<Data> data_;
  std::vector<gantry_op> ops_;
};

class Resilience : public DiskTest {
 protected:
  void SetUp() override {
    DiskTest::SetUp();
    disk_.emplace(host_);
  }
  void Open(const Parameters& more = {}) {
    ASSERT_EQ(disk_->Open(Source(kNode1, more)).error_number, 0) << disk_->log();
  }
  FakeHost host_;
  std::optional<Disk> disk_;
};

TEST_F(Resilience, ATargetThatIsKilledUnderLoadCostsNothingButTime) {
  Open();
  Load load(*disk_);
  ASSERT_TRUE(server_->Kill());
  EXPECT_GT(load.UnderWay(), 0u);
  const double cpu = CpuSeconds();
  host_.Pass(Outage());
  EXPECT_LT(CpuSeconds() - cpu, kIdleCpuShareMax * static_cast<double>(Outage().count()))
      << "it spins";
  EXPECT_GT(load.UnderWay(), 0u);
  // It comes back piece by piece: nothing, a target that nobody may see, a target.
  ASSERT_TRUE(server_->Restart());
  host_.Pass(milliseconds(400));
  ASSERT_TRUE(server_->NewTarget(1, kTarget));
  LetIn();
  host_.Pass(milliseconds(400));
  EXPECT_GT(load.UnderWay(), 0u);
  ASSERT_TRUE(server_->NewLun(lun_));
  const auto back = steady_clock::now();
  load.Check();
  const auto resumed = steady_clock::now() - back;
  EXPECT_LT(resumed, kResumeMsMax);
  RecordProperty("resumed_ms", static_cast<int>(resumed / milliseconds(1)));
  printf("resumed %d ms after the target was back\n", static_cast<int>(resumed / milliseconds(1)));
}

TEST_F(Resilience, AFrozenTargetIsWaitedFor) {
  Open();
  ASSERT_TRUE(server_->Freeze());
  Load load(*disk_);
  host_.Pass(Outage());
  EXPECT_EQ(load.UnderWay(), kDepth);
  ASSERT_TRUE(server_->Thaw());
  load.Check();
}

TEST_F(Resilience, AnIdleSessionThatIsLostIsMadeAgainBeforeItIsNeeded) {
  Open();
  ASSERT_TRUE(server_->DropConnections(1));
  ASSERT_TRUE(host_.Run([&] { return server_->Sessions(1)->size() == 1; }, seconds(5)))
      << disk_->log();
  EXPECT_EQ(disk_->Wait(disk_->Write(0, Pattern(512, 1))), 0);
}

TEST_F(Resilience, AnotherPortalServesWhenOneIsLost) {
  Relay relay(scsi::ParsePortal(server_->portals()[0])->port);
  Open({{"portals", "127.0.0.1:" + std::to_string(relay.port()) + "," + server_->portals()[1]}});
  Load load(*disk_);
  relay.SetOpen(false);
  load.Check();
  EXPECT_NE(disk_->log().find("served by portal " + server_->portals()[1]), std::string::npos)
      << disk_->log();
}

TEST_F(Resilience, ADiskThatCameBackAsAnotherGetsNoIo) {
  Open();
  ASSERT_TRUE(server_->Kill());
  Load load(*disk_);
  ASSERT_TRUE(server_->Restart());
  lun_.id = "c0ffee0000000002";
  lun_.file = "other.img";
  MakeTarget();
  load.CheckAllFail(ENODEV);
  EXPECT_EQ(disk_->Wait(disk_->Write(0, Pattern(512, 1))), ENODEV);
  EXPECT_EQ(disk_->Wait(disk_->Step(&IscsiDataPath::Flush)), ENODEV);
  struct stat facts {};
  ASSERT_EQ(stat(server_->file(lun_).c_str(), &facts), 0);
  EXPECT_EQ(facts.st_blocks, 0) << "nothing was written to the other disk";
  auto session = Observe();
  EXPECT_TRUE(scsi::ReadKeys(session, 1, Soon())->empty());
}

TEST_F(Resilience, ADiskThatCameBackSmallerGetsNoIo) {
  Open();
  ASSERT_TRUE(server_->Kill());
  ASSERT_TRUE(server_->Restart());
  lun_.file = "small.img";
  lun_.size_bytes = kSizeBytes / 2;
  MakeTarget();
  EXPECT_EQ(disk_->Wait(disk_->Write(0, Pattern(512, 1))), ENODEV) << disk_->log();
}

TEST_F(Resilience, ALunNumberThatIsGivenToAnotherDiskGetsNoIo) {
  Open();
  ASSERT_TRUE(server_->DeleteLun(1, 1));
  const Data data = Pattern(512, 1);
  const gantry_op write = disk_->Write(0, data);
  host_.Pass(milliseconds(300));
  EXPECT_TRUE(host_.IsUnderWay(write)) << "a LUN that is gone may come back";
  lun_.id = "c0ffee0000000002";
  lun_.file = "other.img";
  ASSERT_TRUE(server_->NewLun(lun_));
  EXPECT_EQ(disk_->Wait(write), ENODEV) << disk_->log();
}

TEST_F(Resilience, OperationsEndAtTheirDeadlineAndTheirBuffersAreLeftAlone) {
  Open({{"ioTimeoutSeconds", "1"}});
  ASSERT_EQ(disk_->Wait(disk_->Write(0, Data(kPieceBytes, std::byte{1}))), 0);
  ASSERT_TRUE(server_->Freeze());
  Data buffer(kPieceBytes, std::byte{9});
  const auto begin = steady_clock::now();
  const gantry_op read = disk_->Read(0, buffer);
  const gantry_op write = disk_->Write(1 << 20, buffer);
  EXPECT_EQ(disk_->Wait(read), EIO);
  EXPECT_EQ(disk_->Wait(write), EIO);
  EXPECT_LT(steady_clock::now() - begin, seconds(2));
  ASSERT_TRUE(server_->Thaw());
  ASSERT_TRUE(host_.Run([&] { return disk_->log().find("session over") != std::string::npos; },
                        seconds(5)));
  EXPECT_EQ(disk_->ReadBack(0, kPieceBytes), Data(kPieceBytes, std::byte{1}));
  EXPECT_EQ(buffer, Data(kPieceBytes, std::byte{9})) << "nobody wrote to it after its end";
}

TEST_F(Resilience, AnInterruptEndsWhatWaitsForATargetThatIsAway) {
  Open();
  ASSERT_TRUE(server_->Kill());
  const Data data = Pattern(512, 1);
  const gantry_op write = disk_->Write(0, data);
  host_.Pass(milliseconds(300));
  disk_->path().Interrupt(write);
  EXPECT_EQ(disk_->Wait(write), EINTR);
}

TEST_F(Resilience, OpenOfATargetThatIsAwayEndsWhenItComes) {
  ASSERT_TRUE(server_->Kill());
  const gantry_op open = disk_->BeginOpen(Source());
  host_.Pass(milliseconds(600));
  EXPECT_TRUE(host_.IsUnderWay(open));
  ASSERT_TRUE(server_->Restart());
  MakeTarget();
  // Where it was there and did not let us in yet, open said so, and the host tries again.
  const int error_number = disk_->Wait(open);
  if (error_number != ENXIO) {
    EXPECT_EQ(error_number, 0) << disk_->log();
    return;
  }
  Open();
}

TEST_F(Resilience, CloseEndsInBoundedTimeWhenTheTargetIsAway) {
  Open();
  ASSERT_TRUE(server_->Freeze());
  const auto begin = steady_clock::now();
  EXPECT_EQ(disk_->Close().error_number, 0);
  EXPECT_LT(steady_clock::now() - begin, seconds(4));
  ASSERT_TRUE(server_->Thaw());
}

// --- generations

TEST_F(Resilience, ASuccessorGoesOnAndItsPredecessorsKeyIsGone) {
  Open();
  {
    Load load(*disk_);
    host_.Pass(milliseconds(2));
    disk_->Die();
  }
  FakeHost host(host_.regions());
  Disk successor(host);
  ASSERT_EQ(successor.Open(Source()).error_number, 0) << successor.log();
  Load load(successor, 100);
  load.Check();
  auto session = Observe();
  EXPECT_EQ(scsi::ReadKeys(session, 1, Soon())->size(), 1u);
}

TEST_F(Resilience, OfTwoGenerationsTheOldOnesWritesFail) {
  Open();
  ASSERT_EQ(disk_->Wait(disk_->Write(0, Pattern(4096, 1))), 0);
  FakeHost host(host_.regions());
  Disk successor(host);
  ASSERT_EQ(successor.Open(Source()).error_number, 0) << successor.log();
  ASSERT_EQ(successor.Wait(successor.Write(0, Pattern(4096, 2))), 0);
  EXPECT_EQ(disk_->Wait(disk_->Write(0, Pattern(4096, 3))), EIO) << disk_->log();
  EXPECT_EQ(disk_->Wait(disk_->Step(&IscsiDataPath::Flush)), EIO);
  EXPECT_NE(disk_->log().find("taken the disk over"), std::string::npos) << disk_->log();
  EXPECT_EQ(successor.ReadBack(0, 4096), Pattern(4096, 2));
  EXPECT_EQ(successor.Wait(successor.Write(0, Pattern(4096, 4))), 0) << successor.log();
}

TEST_F(Resilience, ANodeThatWasLeftBehindStaysFencedThoughTheTargetForgot) {
  Open();
  FakeHost host;
  Disk other(host);
  ASSERT_EQ(other.Open(Source(kNode2)).error_number, 0) << other.log();
  ASSERT_TRUE(server_->Kill());
  ASSERT_TRUE(server_->Restart());
  MakeTarget();
  // The old one is first and finds no reservation; the newer one takes it from it all the same.
  const Data old_data = Pattern(4096, 1);
  const gantry_op old_write = disk_->Write(0, old_data);
  host_.Run([&] { return !host_.IsUnderWay(old_write); }, seconds(5));
  ASSERT_EQ(other.Wait(other.Write(0, Pattern(4096, 2))), 0) << other.log();
  EXPECT_EQ(disk_->Wait(disk_->Write(0, Pattern(4096, 3))), EIO) << disk_->log();
  EXPECT_EQ(other.ReadBack(0, 4096), Pattern(4096, 2));
}

// Within the same second, so that the time tells them nothing.
TEST_F(Resilience, TheSuccessorsOfANodeThatHasLostTheDiskDoNotTakeItBack) {
  for (const auto& [lost, gained] : {std::pair(kNode1, kNode2), std::pair(kNode2, kNode1)}) {
    FakeHost host;
    Disk first(host);
    ASSERT_EQ(first.Open(Source(lost)).error_number, 0) << first.log();
    FakeHost elsewhere;
    Disk rightful(elsewhere);
    ASSERT_EQ(rightful.Open(Source(gained)).error_number, 0) << rightful.log();
    first.Die();
    FakeHost later(host.regions());
    Disk successor(later);
    EXPECT_NE(successor.Open(Source(lost)).error_number, 0) << "by " << lost;
    EXPECT_NE(successor.log().find("taken the disk over"), std::string::npos) << successor.log();
    EXPECT_EQ(rightful.Wait(rightful.Write(0, Pattern(4096, 2))), 0) << rightful.log();
    EXPECT_EQ(rightful.Close().error_number, 0);
  }
}

// What a killed process had sent lies in the network until its successor has written.
TEST_F(Resilience, AWriteThatArrivesAfterItsProcessDiedDoesNotLand) {
  Relay relay(server_->port());
  const std::string portal = "127.0.0.1:" + std::to_string(relay.port());
  Open({{"portals", portal}});
  ASSERT_EQ(disk_->Wait(disk_->Write(0, Pattern(4096, 1))), 0);
  relay.Hold();
  const Data late = Pattern(4096, 2);
  disk_->Write(0, late);
  disk_->Write(8192, late);
  host_.Run([&] { return relay.HeldBytes() > 2 * late.size(); }, seconds(5));
  ASSERT_GT(relay.HeldBytes(), 2 * late.size());
  disk_->Die();
  FakeHost host(host_.regions());
  Disk successor(host);
  ASSERT_EQ(successor.Open(Source()).error_number, 0) << successor.log();
  ASSERT_EQ(successor.Wait(successor.Write(0, Pattern(4096, 3))), 0);
  relay.Release();
  host.Pass(milliseconds(500));
  EXPECT_EQ(relay.HeldBytes(), 0u);
  EXPECT_EQ(successor.ReadBack(0, 4096), Pattern(4096, 3));
  EXPECT_EQ(successor.ReadBack(8192, 4096), Data(4096));
}

// That the test before can fail.
TEST_F(Resilience, WithoutAFenceALateWriteLands) {
  Relay relay(server_->port());
  Open({{"portals", "127.0.0.1:" + std::to_string(relay.port())}, {"fence", "none"}});
  relay.Hold();
  const Data late = Pattern(4096, 2);
  disk_->Write(0, late);
  host_.Run([&] { return relay.HeldBytes() > late.size(); }, seconds(5));
  ASSERT_GT(relay.HeldBytes(), late.size());
  disk_->Die();
  FakeHost host(host_.regions());
  Disk successor(host);
  ASSERT_EQ(successor.Open(Source(kNode1, {{"fence", "none"}})).error_number, 0);
  ASSERT_EQ(successor.Wait(successor.Write(0, Pattern(4096, 3))), 0);
  relay.Release();
  EXPECT_TRUE(host.Run([&] { return successor.ReadBack(0, 4096) == late; }, seconds(5)));
}

TEST_F(Resilience, ALostConnectionsOwnWritesDoNotLandLate) {
  Relay relay(server_->port());
  Open({{"portals", "127.0.0.1:" + std::to_string(relay.port()) + "," + server_->portals()[1]},
        {"ioTimeoutSeconds", "1"}});
  relay.Hold();
  const Data late = Pattern(4096, 2);
  EXPECT_EQ(disk_->Wait(disk_->Write(0, late)), EIO) << "the deadline dropped the connection";
  ASSERT_EQ(disk_->Wait(disk_->Write(0, Pattern(4096, 3))), 0) << disk_->log();
  relay.Release();
  host_.Pass(milliseconds(500));
  EXPECT_EQ(disk_->ReadBack(0, 4096), Pattern(4096, 3));
}

}  // namespace
}  // namespace gantry::iscsi::test

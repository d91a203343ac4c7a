// SPDX-License-Identifier: Apache-2.0
// The server of a volume in use is away: frozen, or dead, for a while, under the load that the
// take-over's tests use. `hard` waits and loses nothing, `soft` ends each operation with an error in
// the time that was configured, the volume of another server notices nothing. A short while by
// default; 60 s and 10 s with GANTRY_SURVIVAL_LONG=1.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "tests/integration/nfs_node.hpp"
#include "tests/integration/survival.hpp"

namespace gantry::tests {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr int kSoftSeconds = 2;
constexpr seconds kSoftSlackMax{2};
constexpr seconds kUnaffectedMax{2};  // of a machine that is busy

seconds Frozen() { return seconds(SurvivalRounds(5, 60)); }
seconds Dead() { return seconds(SurvivalRounds(3, 10)); }
void Pass(seconds time) { poll(nullptr, 0, static_cast<int>(milliseconds(time).count())); }

// How a call ended, and after how long.
struct Ended {
  int error_number = 0;
  milliseconds took{0};
};
template <class Call>
Ended Time(Call&& call) {
  const auto begin = steady_clock::now();
  const int error_number = call() >= 0 ? 0 : errno;
  return {error_number, std::chrono::duration_cast<milliseconds>(steady_clock::now() - begin)};
}

class NfsAway : public ::testing::Test {
 protected:
  NfsAway() : other_(StartOther()), node_(Options(other_)) {}
  void TearDown() override {
    (void)node_.server().Thaw();
    EXPECT_THAT(node_.Mounted(), ::testing::IsEmpty());
    EXPECT_THAT(node_.DataPathPids(), ::testing::IsEmpty());
  }
  Volume Run(const std::string& name, const std::string& share,
             const std::vector<std::string>& flags = {}) {
    // Locks of a volume that several nodes write are refused, and SQLite wants them.
    Volume volume = node_.Plan(name, Mode::SINGLE_NODE_MULTI_WRITER);
    volume.parameters["share"] = share;
    volume.mount_flags = flags;
    for (const auto& status : {node_.Create(volume), node_.Stage(volume), node_.Publish(volume)})
      if (!status.ok()) throw std::runtime_error(Text(status));
    return volume;
  }

  // The load waits while `away` lasts, and everything of it is right afterwards.
  void ExpectOnlyAPause(const std::function<void()>& begin, seconds away,
                        const std::function<void()>& end) {
    const Volume volume = Run("waits", "/vol");
    const Volume elsewhere = Run("elsewhere", "/other");
    {
      SurvivalLoad load(volume.target, node_.host().directory());
      Probe unaffected(elsewhere.target / "probe");
      ASSERT_TRUE(load.Advances(kSurvivalProbes)) << load.Error();
      begin();
      (void)unaffected.TakeLongest();
      const uint64_t before = unaffected.rounds();
      Pass(away);
      const auto longest = unaffected.TakeLongest();
      EXPECT_LT(longest, kUnaffectedMax);
      EXPECT_GT(unaffected.rounds(), before + static_cast<uint64_t>(away.count()));
      EXPECT_EQ(load.Error(), "");
      const auto back = steady_clock::now();
      end();
      ASSERT_TRUE(load.Advances(2)) << load.Error();
      const std::chrono::duration<double> resumed = steady_clock::now() - back;
      std::printf("  away for %lld s: went on %.2f s after; the other server's longest: %.1f ms\n",
                  static_cast<long long>(away.count()), resumed.count(),
                  static_cast<double>(longest.count()) / 1e6);
      ASSERT_TRUE(load.Advances(kSurvivalProbes)) << load.Error();
      load.Finish();
      unaffected.Stop();
      EXPECT_EQ(unaffected.error(), "");
    }
    ASSERT_GRPC_OK(node_.End(volume));
    ASSERT_GRPC_OK(node_.End(elsewhere));
  }

  lab::Ganesha other_;
  NfsNode node_;

 private:
  static lab::Ganesha StartOther() {
    lab::GaneshaOptions options;
    options.exports = {"other"};
    auto server = lab::Ganesha::Start(options);
    if (!server) throw std::runtime_error(server.error().message);
    return std::move(*server);
  }
  static NfsNodeOptions Options(const lab::Ganesha& other) {
    NfsNodeOptions options;
    options.shares = {ShareOf(other)};
    return options;
  }
};

TEST_F(NfsAway, AFrozenServerCostsAHardMountItsTimeAndNothingElse) {
  ExpectOnlyAPause([&] { ASSERT_TRUE(node_.server().Freeze()); }, Frozen(),
                   [&] { ASSERT_TRUE(node_.server().Thaw()); });
}

TEST_F(NfsAway, ADeadServerCostsAHardMountItsTimeAndNothingElse) {
  ExpectOnlyAPause([&] { ASSERT_TRUE(node_.server().Kill()); }, Dead(),
                   [&] { ASSERT_TRUE(node_.server().Restart()); });
}

TEST_F(NfsAway, ASoftMountEndsEachOperationInItsTimeAndWorksAfterwards) {
  const std::string timeo = "timeo=" + std::to_string(kSoftSeconds * 10);
  const Volume soft = Run("soft", "/vol", {"soft", timeo, "retrans=0"});
  const Volume softerr = Run("softerr", "/vol", {"softerr", timeo, "retrans=0"});
  ASSERT_TRUE(node_.server().Freeze());
  for (const auto& [volume, expected] :
       {std::pair(&soft, EIO), std::pair(&softerr, ETIMEDOUT), std::pair(&soft, EIO)}) {
    const auto ended =
        Time([&, &at = volume->target] { return mkdir((at / "made").c_str(), 0755); });
    EXPECT_EQ(ended.error_number, expected) << strerror(ended.error_number);
    EXPECT_GE(ended.took, seconds(kSoftSeconds) - milliseconds(100));
    EXPECT_LT(ended.took, seconds(kSoftSeconds) + kSoftSlackMax);
  }
  ASSERT_TRUE(node_.server().Thaw());
  for (const Volume& volume : {soft, softerr}) {
    EXPECT_EQ(WriteWhole(volume.target / "after", "alive"), 0);
    ASSERT_GRPC_OK(node_.End(volume));
  }
}

}  // namespace
}  // namespace gantry::tests

// SPDX-License-Identifier: Apache-2.0
// A server that is frozen, gone, and back: its callers get an error within their deadline, another
// server's notice nothing, and nobody has to restart anything. Also the calls that are pending
// meanwhile: a second one for the same name is told so at once.
#include <atomic>

#include "tests/integration/nfs_lab.hpp"

namespace gantry::itest {
namespace {

constexpr int kUid = 61041;
constexpr int kOtherUid = 61042;
constexpr int kStuckCalls = 24;  // More than one server may occupy.
constexpr int kOtherCalls = 10;
constexpr std::chrono::milliseconds kOutageCallMsMax{5'000};
constexpr std::chrono::milliseconds kAnswerSlackMsMax{1'000};  // Of a busy machine.
constexpr std::chrono::milliseconds kAtOnceMsMax{1'000};
constexpr std::chrono::milliseconds kUnaffectedMsMax{2'000};
constexpr std::chrono::milliseconds kRecoveryMsMax{10'000};

bool IsOutage(grpc::StatusCode code) {
  return code == grpc::StatusCode::UNAVAILABLE || code == grpc::StatusCode::DEADLINE_EXCEEDED;
}

lab::Ganesha StartServer(const std::vector<std::string>& exports) {
  lab::GaneshaOptions options;
  options.exports = exports;
  auto server = lab::Ganesha::Start(options);
  if (!server) throw std::runtime_error(server.error().message);
  return std::move(*server);
}

// A call for a volume that another call is busy with.
TEST(NfsPending, ASecondCallForAVolumeIsAbortedAtOnceAndTheFirstEnds) {
  lab::Ganesha server = StartServer({"vol"});
  auto proxy = lab::NfsProxy::Start(server.port());
  ASSERT_TRUE(proxy) << proxy.error().message;
  const auto host = StartHost(NfsBackend("nfs", kUid, {{(*proxy)->port(), server.mount_port()}}));
  ASSERT_TRUE(host);
  Controller controller(*host);
  const auto there = controller.Create("pvc-there");  // Also the share's MOUNT.
  ASSERT_TRUE(there.ok()) << there.message();
  const std::string id = there.reply.volume().volume_id();

  std::atomic<int> at_server = 0;
  ASSERT_TRUE(server.Freeze());
  (*proxy)->Arm([&](const lab::NfsCall&, lab::NfsProxy::Stage) {
    ++at_server;
    return lab::NfsProxy::Verdict::kPass;
  });
  Controller::Created creating;
  Controller::Deleted deleting;
  std::thread first([&] { creating = Controller(*host).Create("pvc-pending"); });
  EXPECT_TRUE(WaitFor([&] { return at_server >= 1; }));
  std::thread second([&] { deleting = Controller(*host).Delete(id); });
  EXPECT_TRUE(WaitFor([&] { return at_server >= 2; }));

  const auto again = controller.Create("pvc-pending");
  EXPECT_EQ(again.code(), grpc::StatusCode::ABORTED) << again.message();
  EXPECT_LT(again.took, kAtOnceMsMax);
  const auto deleted_again = controller.Delete(id);
  EXPECT_EQ(deleted_again.code(), grpc::StatusCode::ABORTED) << deleted_again.message();
  EXPECT_LT(deleted_again.took, kAtOnceMsMax);

  EXPECT_TRUE(server.Thaw());
  first.join();
  second.join();
  (*proxy)->Disarm();
  EXPECT_TRUE(creating.ok()) << creating.message();
  EXPECT_TRUE(deleting.ok()) << deleting.message();
  const auto same = controller.Create("pvc-pending");
  ASSERT_TRUE(same.ok()) << same.message();
  EXPECT_EQ(same.reply.volume().volume_id(), creating.reply.volume().volume_id());
  ExpectExactly(server.root(), {{"pvc-pending", HandleOf(same.reply.volume().volume_id())}});
}

// One backend with a share on each of two servers, and another backend on the second one.
class NfsOutage : public testing::Test {
 protected:
  NfsOutage() : away_(StartServer({"away"})), here_(StartServer({"here", "other"})) {
    host_ = StartHost(
        NfsBackend("nfs", kUid,
                   {{away_.port(), away_.mount_port(), "/away"},
                    {here_.port(), here_.mount_port(), "/here"}}) +
            NfsBackend("other", kOtherUid, {{here_.port(), here_.mount_port(), "/other"}}),
        "[nfs, other]");
  }

  void SetUp() override {
    ASSERT_TRUE(host_);
    controller_ = std::make_unique<Controller>(*host_);
    const auto created = controller_->Create("pvc-before", kAway);
    ASSERT_TRUE(created.ok()) << created.message();
    id_ = created.reply.volume().volume_id();
    ASSERT_TRUE(controller_->Create("pvc-before", kHere).ok());
    ASSERT_TRUE(controller_->List().ok());
  }

  static void ExpectBoundedOutage(const grpc::Status& status, std::chrono::milliseconds took,
                                  const std::string& message) {
    EXPECT_TRUE(IsOutage(status.error_code())) << message;
    EXPECT_LT(took, kOutageCallMsMax + kAnswerSlackMsMax) << message;
  }

  void ExpectOutageIsContained() {
    // As many as want; each within its own deadline.
    std::vector<std::thread> stuck;
    std::atomic<int> answered = 0;
    for (int i = 0; i < kStuckCalls; ++i) {
      stuck.emplace_back([&, i] {
        Controller mine(*host_);
        if (i % 4 == 3) {
          const auto listed = mine.List(0, {}, kOutageCallMsMax);
          ExpectBoundedOutage(listed.status, listed.took, "list: " + listed.message());
        } else if (i == 0) {
          const auto deleted = mine.Delete(id_, kOutageCallMsMax);
          ExpectBoundedOutage(deleted.status, deleted.took, "delete: " + deleted.message());
        } else {
          const auto created =
              mine.Create(CreateRequest("pvc-stuck-" + std::to_string(i), kAway), kOutageCallMsMax);
          ExpectBoundedOutage(created.status, created.took, "create: " + created.message());
        }
        ++answered;
      });
    }
    for (int i = 0; i < kOtherCalls; ++i) {
      for (const auto& parameters : {kHere, kOther}) {
        const auto created = controller_->Create("pvc-" + std::to_string(i), parameters);
        ASSERT_TRUE(created.ok()) << created.message();
        EXPECT_LT(created.took, kUnaffectedMsMax) << parameters.at("share");
        const auto deleted = controller_->Delete(created.reply.volume().volume_id());
        EXPECT_TRUE(deleted.ok()) << deleted.message();
        EXPECT_LT(deleted.took, kUnaffectedMsMax) << parameters.at("share");
      }
    }
    std::cout << answered << " of " << kStuckCalls << " calls to the server that is away were "
              << "answered when the other's were done\n";
    for (auto& thread : stuck) thread.join();
  }

  // The next calls succeed, in the same gantryd and the same worker.
  void ExpectRecovery(const std::vector<pid_t>& workers) {
    const auto created = controller_->Create(CreateRequest("pvc-after", kAway), kRecoveryMsMax);
    EXPECT_TRUE(created.ok()) << created.message();
    Live live = {{"pvc-after", HandleOf(created.reply.volume().volume_id())}};
    for (int i = 0; i < kStuckCalls; ++i) {
      if (i % 4 == 3 || i == 0) continue;
      const std::string name = "pvc-stuck-" + std::to_string(i);
      auto retried = controller_->Create(name, kAway);
      // What was on its way when its caller gave up still holds its name for a moment.
      WaitFor([&] {
        if (retried.code() == grpc::StatusCode::ABORTED) retried = controller_->Create(name, kAway);
        return retried.code() != grpc::StatusCode::ABORTED;
      });
      ASSERT_TRUE(retried.ok()) << retried.message();
      live[name] = HandleOf(retried.reply.volume().volume_id());
    }
    const auto deleted = controller_->Delete(id_);
    EXPECT_TRUE(deleted.ok()) << deleted.message();
    ExpectExactly(away_.root(), live);
    const auto listed = controller_->List();
    ASSERT_TRUE(listed.ok()) << listed.message();
    EXPECT_EQ(static_cast<size_t>(listed.reply.entries_size()), live.size() + 1);
    EXPECT_EQ(host_->WorkerPids("nfs"), workers);
  }

  static inline const Parameters kAway = {{"share", "/away"}};
  static inline const Parameters kHere = {{"share", "/here"}};
  static inline const Parameters kOther = {{"backend", "other"}, {"share", "/other"}};

  lab::Ganesha away_;
  lab::Ganesha here_;
  std::unique_ptr<lab::Gantryd> host_;
  std::unique_ptr<Controller> controller_;
  std::string id_;
};

TEST_F(NfsOutage, AFrozenServerCostsItsOwnCallersABoundedErrorAndIsBackWithTheThaw) {
  const auto workers = host_->WorkerPids("nfs");
  ASSERT_TRUE(away_.Freeze());
  ExpectOutageIsContained();
  ASSERT_TRUE(away_.Thaw());
  ExpectRecovery(workers);
}

TEST_F(NfsOutage, AServerThatIsGoneCostsItsOwnCallersABoundedErrorAndIsBackWithItsRestart) {
  const auto workers = host_->WorkerPids("nfs");
  ASSERT_TRUE(away_.Kill());
  ExpectOutageIsContained();
  ASSERT_TRUE(away_.Restart());
  ExpectRecovery(workers);
}

}  // namespace
}  // namespace gantry::itest

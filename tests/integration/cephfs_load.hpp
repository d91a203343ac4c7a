// SPDX-License-Identifier: Apache-2.0
// Clients that provision as a CO does: volumes, publications, snapshots and copies, made and taken away
// again one after the other, each call repeated until it goes well. What may not happen meanwhile (a
// call beyond its bound, an answer that a CO takes for final) is a failure of the test.
#pragma once

#include <array>
#include <atomic>
#include <mutex>

#include "tests/integration/cephfs_lab.hpp"

namespace gantry::itest {

class Provisioners {
 public:
  static constexpr int kClients = 8;

  // `call_max`: of each call; `end_max`: until one that is repeated goes well.
  Provisioners(const lab::Gantryd& host, std::chrono::milliseconds call_max,
               std::chrono::seconds end_max)
      : call_max_(call_max), end_max_(end_max) {
    for (int i = 0; i < kClients; ++i) threads_.emplace_back([this, &host, i] { Live(host, i); });
  }
  ~Provisioners() { Stop(); }
  Provisioners(const Provisioners&) = delete;
  Provisioners& operator=(const Provisioners&) = delete;

  // Each ends what it has begun, so nothing of theirs stays.
  void Stop() {
    stop_ = true;
    for (auto& thread : threads_) thread.join();
    threads_.clear();
  }
  // Waits until each client has been refused once more.
  bool AllRefused(std::chrono::milliseconds within) const {
    return AllAdvance(refused_, 1, within);
  }
  // Waits until each has done more operations than one that was under way.
  bool AllServed(std::chrono::milliseconds within) const { return AllAdvance(done_, 2, within); }
  int done() const { return Sum(done_); }
  int refused() const { return Sum(refused_); }
  std::chrono::milliseconds slowest() const { return std::chrono::milliseconds(slowest_ms_); }

 private:
  using Counts = std::array<std::atomic<int>, kClients>;

  static int Sum(const Counts& counts) {
    int sum = 0;
    for (const auto& count : counts) sum += count;
    return sum;
  }
  static bool AllAdvance(const Counts& counts, int more, std::chrono::milliseconds within) {
    std::array<int, kClients> wanted{};
    for (int i = 0; i < kClients; ++i) wanted[i] = counts[i] + more;
    return WaitFor(
        [&] {
          for (int i = 0; i < kClients; ++i)
            if (counts[i] < wanted[i]) return false;
          return true;
        },
        within);
  }

  // Repeats it until it goes well; what it came to in the end.
  template <class Call>
  auto Until(int client, const char* what, const Call& call) {
    auto outcome = call();
    WaitFor(
        [&] {
          int64_t slowest = slowest_ms_;
          while (outcome.took.count() > slowest &&
                 !slowest_ms_.compare_exchange_weak(slowest, outcome.took.count())) {
          }
          EXPECT_LT(outcome.took, call_max_) << what << ": " << outcome.message();
          if (outcome.ok()) return true;
          ++refused_[client];
          const bool may_repeat = outcome.code() == grpc::StatusCode::UNAVAILABLE ||
                                  outcome.code() == grpc::StatusCode::ABORTED;
          EXPECT_TRUE(may_repeat) << what << ": " << outcome.message();
          if (!may_repeat) return true;
          outcome = call();
          return false;
        },
        end_max_);
    EXPECT_TRUE(outcome.ok()) << what << " of client " << client << ": " << outcome.message();
    ++done_[client];
    return outcome;
  }

  void Live(const lab::Gantryd& host, int client) {
    CephController controller(host);
    for (int round = 0; !stop_; ++round) {
      const std::string name = "-" + std::to_string(client) + "-" + std::to_string(round);
      const std::string node = "node-of-" + std::to_string(client);
      const auto created =
          Until(client, "create", [&] { return controller.Create("pvc" + name); }).reply.volume();
      if (created.volume_id().empty()) return;
      Until(client, "publish", [&] { return controller.Publish(created, node); });
      Until(client, "unpublish", [&] { return controller.Unpublish(created.volume_id(), node); });
      const std::string snapshot =
          Until(client, "snapshot",
                [&] { return controller.Snapshot("snap" + name, created.volume_id()); })
              .reply.snapshot()
              .snapshot_id();
      // A snapshot's copy and a volume's, in turns.
      const auto request =
          round % 2 == 0 ? CreateFromRequest("copy" + name, From::kSnapshot, snapshot)
                         : CreateFromRequest("copy" + name, From::kVolume, created.volume_id());
      const auto copied =
          Until(client, "copy", [&] { return controller.Create(request); }).reply.volume();
      Until(client, "delete a copy", [&] { return controller.Delete(copied.volume_id()); });
      Until(client, "delete a snapshot", [&] { return controller.DeleteSnapshot(snapshot); });
      Until(client, "delete", [&] { return controller.Delete(created.volume_id()); });
    }
  }

  const std::chrono::milliseconds call_max_;
  const std::chrono::seconds end_max_;
  std::atomic<bool> stop_{false};
  Counts done_{};
  Counts refused_{};
  std::atomic<int64_t> slowest_ms_{0};
  std::vector<std::thread> threads_;
};

}  // namespace gantry::itest

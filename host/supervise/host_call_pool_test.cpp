// SPDX-License-Identifier: Apache-2.0
#include "host/supervise/host_call_pool.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "host/wire/socket_pair.hpp"

namespace gantry::supervise {
namespace {

constexpr std::chrono::seconds kLongS{20};

class FakeServices final : public core::HostServices {
 public:
  channel::HostReply Serve(const std::string& backend, const channel::HostCall& request,
                           base::TimePoint deadline, core::Cancellation* cancellation) override {
    const auto registration = cancellation->OnCancel([&] {
      const std::lock_guard cancelling(mutex);
      changed.notify_all();
    });
    std::unique_lock lock(mutex);
    ++running[backend];
    deadlines.push_back(deadline);
    changed.notify_all();
    if (stuck.contains(backend))
      changed.wait(lock, [&] { return released || (heeds_cancel && cancellation->cancelled()); });
    ++ended[backend];
    channel::HostReply reply;
    if (request.has_secret_get() && request.secret_get().name() == "none") {
      reply.set_code(static_cast<int32_t>(base::Code::kNotFound));
      return reply;
    }
    reply.set_value(backend + ":" + request.kv_get().key());
    return reply;
  }
  void AwaitRunning(const std::string& backend, size_t count) {
    std::unique_lock lock(mutex);
    ASSERT_TRUE(changed.wait_for(lock, kLongS, [&] { return running[backend] >= count; }));
  }
  void Release() {
    const std::lock_guard lock(mutex);
    released = true;
    changed.notify_all();
  }

  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::string, size_t> running;  // ever begun
  std::map<std::string, size_t> ended;
  bool heeds_cancel = true;
  std::vector<base::TimePoint> deadlines;
  std::set<std::string> stuck;
  bool released = false;
};

// The worker's end: collects replies.
class Collector final : public wire::Receiver {
 public:
  void OnMessage(wire::Message message) override {
    const std::lock_guard lock(mutex_);
    channel::HostReply reply;
    reply.ParseFromString(message.payload);
    if (message.kind == wire::Kind::kSecretReply)
      secrets_[message.call_id] = std::move(message.secret);
    replies_[message.call_id] = std::move(reply);
    changed_.notify_all();
  }
  void OnClosed(const base::Error&) override {}
  channel::HostReply Await(uint64_t id) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kLongS, [&] { return replies_.contains(id); }));
    return replies_[id];
  }
  // What came in memory that is wiped; empty: nothing did.
  std::string Secret(uint64_t id) {
    const std::lock_guard lock(mutex_);
    return std::string(secrets_[id].view());
  }
  size_t count() {
    const std::lock_guard lock(mutex_);
    return replies_.size();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<uint64_t, channel::HostReply> replies_;
  std::map<uint64_t, base::SecretBytes> secrets_;
};

class HostCallPoolTest : public ::testing::Test {
 protected:
  HostCallPoolTest() {
    auto pair = std::move(*wire::MakeChannelPair());
    ours = std::move(*wire::Channel::Create(std::move(pair.ours)));
    theirs = std::move(*wire::Channel::Create(std::move(pair.theirs)));
    EXPECT_TRUE(ours->Start(ignored));
    EXPECT_TRUE(theirs->Start(worker));
  }
  ~HostCallPoolTest() override {
    services.Release();
    pool.Stop();
    ours->Close();
    theirs->Close();
  }
  void Submit(const std::string& backend, uint64_t id, const std::string& key = "k",
              int64_t deadline_ns = 0) {
    channel::HostCall call;
    call.set_deadline_ns(deadline_ns);
    call.mutable_kv_get()->set_key(key);
    SubmitRaw(backend, id, call.SerializeAsString());
  }
  void SubmitRaw(const std::string& backend, uint64_t id, std::string payload) {
    pool.Submit(CallerOf(backend), {wire::Kind::kHostCall, id, std::move(payload), {}, {}});
  }
  std::shared_ptr<HostCaller> CallerOf(const std::string& backend) {
    auto& caller = callers[backend];
    if (!caller) {
      caller = std::make_shared<HostCaller>(backend);
      caller->channel = ours;
    }
    return caller;
  }

  base::SystemClock clock;
  FakeServices services;
  Collector ignored;
  Collector worker;
  std::shared_ptr<wire::Channel> ours;
  std::unique_ptr<wire::Channel> theirs;
  std::map<std::string, std::shared_ptr<HostCaller>> callers;
  HostCallPool pool{services, clock};
};

TEST_F(HostCallPoolTest, AnswersEachCallUnderItsId) {
  Submit("fast", 7, "a");
  Submit("slow", 8, "b");
  EXPECT_EQ(worker.Await(7).value(), "fast:a");
  EXPECT_EQ(worker.Await(8).value(), "slow:b");
}

TEST_F(HostCallPoolTest, ACredentialTravelsAsASecretAndARefusalInTheOpen) {
  channel::HostCall call;
  call.mutable_secret_get()->set_name("key");
  SubmitRaw("fast", 7, call.SerializeAsString());
  call.mutable_secret_get()->set_name("none");
  SubmitRaw("fast", 8, call.SerializeAsString());
  EXPECT_EQ(worker.Await(7).value(), "");
  EXPECT_EQ(worker.Secret(7), "fast:");
  EXPECT_EQ(worker.Await(8).code(), static_cast<int32_t>(base::Code::kNotFound));
  EXPECT_EQ(worker.Secret(8), "");
}

TEST_F(HostCallPoolTest, RefusesWhatItCannotRead) {
  SubmitRaw("fast", 7, "\xff\xff\xff");
  EXPECT_EQ(worker.Await(7).code(), static_cast<int32_t>(base::Code::kInvalidArgument));
}

TEST_F(HostCallPoolTest, AnswersNoCount) {
  channel::HostCall call;
  call.mutable_count()->set_name("mounts");
  SubmitRaw("fast", 7, call.SerializeAsString());
  Submit("fast", 8);
  worker.Await(8);
  services.AwaitRunning("fast", 2);
  pool.Stop();
  EXPECT_EQ(worker.count(), 1U);
}

TEST_F(HostCallPoolTest, LimitsTheDeadline) {
  Submit("fast", 7, "k", INT64_MAX);
  worker.Await(7);
  EXPECT_LE(services.deadlines.at(0), clock.Now() + kHostCallMsMax);
}

TEST_F(HostCallPoolTest, ABackendWhoseCallsHangLeavesTheOthersTheirs) {
  services.stuck = {"bad", "worse"};
  uint64_t id = 1;
  for (size_t i = 0; i < kHostCallsQueuedMax; ++i) {
    Submit("bad", id++);
    Submit("worse", id++);
  }
  services.AwaitRunning("bad", kHostCallsRunningMax);
  services.AwaitRunning("worse", kHostCallsRunningMax);
  Submit("good", id);
  EXPECT_EQ(worker.Await(id).value(), "good:k");
  EXPECT_EQ(services.running["bad"], kHostCallsRunningMax);
}

TEST_F(HostCallPoolTest, RefusesAtOnceWhatABackendHasTooManyOf) {
  services.stuck = {"bad"};
  uint64_t id = 1;
  for (; id <= kHostCallsRunningMax; ++id) Submit("bad", id);
  services.AwaitRunning("bad", kHostCallsRunningMax);
  for (size_t i = 0; i < kHostCallsQueuedMax; ++i) Submit("bad", id++);
  Submit("bad", id);
  EXPECT_EQ(worker.Await(id).code(), static_cast<int32_t>(base::Code::kResourceExhausted));
  services.Release();
  for (uint64_t other = 1; other < id; ++other) EXPECT_EQ(worker.Await(other).code(), 0);
}

TEST_F(HostCallPoolTest, DropsTheReplyOfAWorkerThatIsGone) {
  services.stuck = {"bad"};
  Submit("bad", 1);
  services.AwaitRunning("bad", 1);
  ours->Close();
  ours.reset();
  services.Release();
  pool.Stop();
  EXPECT_EQ(worker.count(), 0U);
  // For the destructor.
  ours = std::move(*wire::Channel::Create(std::move(wire::MakeChannelPair()->ours)));
}

TEST_F(HostCallPoolTest, EndsWhatADeadCallerAskedForAndNobodyElses) {
  services.stuck = {"dying", "living"};
  Submit("living", 1);
  for (uint64_t id = 2; id < 12; ++id) Submit("dying", id);  // more than run at once
  services.AwaitRunning("living", 1);
  services.AwaitRunning("dying", kHostCallsRunningMax);
  EXPECT_TRUE(pool.EndOf(*CallerOf("dying"), clock.Now() + kLongS));
  EXPECT_EQ(services.ended["dying"], kHostCallsRunningMax);
  EXPECT_EQ(services.running["dying"], kHostCallsRunningMax) << "none that waited was begun";
  EXPECT_EQ(services.ended["living"], 0U);
  Submit("dying", 12);
  services.Release();
  EXPECT_EQ(worker.Await(1).value(), "living:k");
  EXPECT_EQ(services.running["dying"], kHostCallsRunningMax) << "a dead one asks for nothing";
}

TEST_F(HostCallPoolTest, SaysWhenADeadCallersServicesDoNotEnd) {
  services.stuck = {"dying"};
  services.heeds_cancel = false;
  Submit("dying", 1);
  services.AwaitRunning("dying", 1);
  EXPECT_FALSE(pool.EndOf(*CallerOf("dying"), clock.Now() + std::chrono::milliseconds(20)));
  services.Release();
  EXPECT_TRUE(pool.EndOf(*CallerOf("dying"), clock.Now() + kLongS));
}

TEST_F(HostCallPoolTest, TakesNothingMoreOnceStopped) {
  pool.Stop();
  Submit("fast", 1);
  EXPECT_TRUE(services.running.empty());
}

}  // namespace
}  // namespace gantry::supervise

// SPDX-License-Identifier: Apache-2.0
#include "host/worker/call_table.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <optional>
#include <vector>

namespace gantry::worker {
namespace {

using std::chrono::steady_clock;
constexpr std::chrono::seconds kLong{30};

class TestCall final : public Call {
 public:
  using Call::Call;
  std::optional<base::Error> outcome;
  int ended = 0;

 private:
  void OnEnded(base::Error error) override {
    outcome = std::move(error);
    ++ended;
  }
};

gantry_str Str(std::string_view text) { return {text.data(), text.size()}; }

class CallTableTest : public testing::Test {
 protected:
  std::shared_ptr<TestCall> Begin(uint64_t id, channel::Call message = {},
                                  CallSecrets secrets = {}) {
    auto call = std::make_shared<TestCall>(id, std::move(message), std::move(secrets));
    EXPECT_TRUE(table.Add(call));
    return call;
  }
  static channel::Call WithCredits(uint32_t credits) {
    channel::Call message;
    message.set_credits(credits);
    return message;
  }

  std::vector<std::string> noted;
  std::atomic<int> sent{0};
  std::atomic<int> full{0};  // so many sends find the channel full
  Misbehaviour misbehaviour{[this](std::string text) { noted.push_back(std::move(text)); }};
  TaskThread canceller{"cancel", 100};
  CallTable table{[this](uint64_t, const channel::Emit&) -> base::Status {
                    if (full > 0) {
                      --full;
                      return base::Fail(base::Code::kResourceExhausted, "full");
                    }
                    ++sent;
                    return {};
                  },
                  misbehaviour, canceller};
};

TEST_F(CallTableTest, RefusesTheIdZeroAndAnIdThatIsTaken) {
  Begin(7);
  EXPECT_FALSE(table.Add(std::make_shared<TestCall>(7, channel::Call(), CallSecrets())));
  EXPECT_FALSE(table.Add(std::make_shared<TestCall>(0, channel::Call(), CallSecrets())));
}

TEST_F(CallTableTest, EndsACallOnceAndCountsEveryFurtherFinish) {
  const auto call = Begin(1);
  table.Finish(1, GANTRY_NOT_FOUND, Str("gone"));
  table.Finish(1, GANTRY_OK, {});
  table.Finish(1, GANTRY_OK, {});
  table.Finish(99, GANTRY_OK, {});
  EXPECT_EQ(call->ended, 1);
  EXPECT_EQ(call->outcome->code, base::Code::kNotFound);
  EXPECT_EQ(call->outcome->message, "gone");
  EXPECT_EQ(noted.size(), 1u) << "said once";
  EXPECT_EQ(misbehaviour.Summary(), "finish of a call that is not open 3");
  EXPECT_EQ(table.size(), 0u);
}

TEST_F(CallTableTest, TurnsAnUnknownCodeIntoUnavailable) {
  const auto call = Begin(1);
  table.Finish(1, 42, Str("what"));
  EXPECT_EQ(call->outcome->code, base::Code::kUnavailable);
  EXPECT_EQ(call->outcome->message, "the backend finished with the unknown code 42: what");
  EXPECT_EQ(misbehaviour.Summary(), "unknown code 1");
}

TEST_F(CallTableTest, CutsAndCleansTheMessageOfAFinish) {
  const auto call = Begin(1);
  table.Finish(1, GANTRY_INTERNAL, Str(std::string(100'000, '\xff')));
  EXPECT_EQ(call->outcome->message, std::string(kFinishMessageBytesMax, '?'));
}

TEST_F(CallTableTest, WipesTheSecretsBeforeTheEndIsTold) {
  channel::Secrets message;
  (*message.mutable_values())["k"] = "hunter2";
  auto secrets = CallSecrets::Parse(base::SecretBytes(message.SerializeAsString()));
  const auto call = Begin(1, {}, std::move(*secrets));
  gantry_str value{};
  ASSERT_TRUE(table.Secret(1, "k", &value));
  EXPECT_STREQ(value.ptr, "hunter2");
  table.Finish(1, GANTRY_OK, {});
  EXPECT_EQ(std::string(value.ptr, 7), std::string(7, '\0'));
  EXPECT_FALSE(table.Secret(1, "k", &value));
}

TEST_F(CallTableTest, AnEmitWithoutCreditWaitsForIt) {
  Begin(1, WithCredits(1));
  EXPECT_TRUE(table.Emit(1, {}));
  auto second = std::async(std::launch::async, [&] { return table.Emit(1, {}); });
  EXPECT_EQ(second.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  EXPECT_EQ(sent, 1);
  table.AddCredits(1, 1, false);
  EXPECT_TRUE(second.get());
  EXPECT_EQ(sent, 2);
}

TEST_F(CallTableTest, AnEmitThatWaitsGivesUpWhenTheCallIsCancelled) {
  Begin(1);
  auto emit = std::async(std::launch::async, [&] { return table.Emit(1, {}); });
  table.Cancel(1);
  EXPECT_FALSE(emit.get());
}

TEST_F(CallTableTest, AnEmitThatWaitsGivesUpAtTheDeadline) {
  channel::Call message;
  message.set_deadline_ns(base::ToNanoseconds(steady_clock::now() + std::chrono::milliseconds(30)));
  Begin(1, message);
  EXPECT_FALSE(table.Emit(1, {}));
  EXPECT_EQ(sent, 0);
}

TEST_F(CallTableTest, AnEmitThatWaitsGivesUpAtTheFinish) {
  const auto call = Begin(1);
  auto emit = std::async(std::launch::async, [&] { return table.Emit(1, {}); });
  EXPECT_EQ(emit.wait_for(std::chrono::milliseconds(20)), std::future_status::timeout);
  table.Finish(1, GANTRY_OK, {});
  EXPECT_FALSE(emit.get());
}

TEST_F(CallTableTest, AnEmitIsToldThatNoMoreIsWanted) {
  Begin(1, WithCredits(10));
  table.AddCredits(1, 0, true);
  EXPECT_FALSE(table.Emit(1, {}));
  EXPECT_EQ(sent, 0);
}

TEST_F(CallTableTest, AnEmitTriesAgainWhenTheChannelIsFull) {
  Begin(1, WithCredits(1));
  full = 3;
  EXPECT_TRUE(table.Emit(1, {}));
  EXPECT_EQ(sent, 1);
}

TEST_F(CallTableTest, ABrokenCallEndsUnavailableWhateverThePluginSays) {
  const auto call = Begin(1, WithCredits(10));
  table.Break(1, "volume.handle is \"a/b\"");
  EXPECT_FALSE(table.Emit(1, {}));
  table.Finish(1, GANTRY_OK, {});
  EXPECT_EQ(call->outcome->code, base::Code::kUnavailable);
  EXPECT_EQ(call->outcome->message, "the backend emitted nonsense: volume.handle is \"a/b\"");
  EXPECT_EQ(misbehaviour.Summary(), "bad emit 1");
}

TEST_F(CallTableTest, KnowsDeadlineAttemptAndRequest) {
  channel::Call message;
  message.set_attempt(3);
  message.set_request("bytes");
  Begin(1, message);
  EXPECT_EQ(table.DeadlineNs(1), INT64_MAX);
  EXPECT_EQ(table.Attempt(1), 3u);
  const gantry_bytes bytes = table.RequestBytes(1);
  EXPECT_EQ(std::string(static_cast<const char*>(bytes.ptr), bytes.len), "bytes");
  message.set_deadline_ns(1234);
  Begin(2, message);
  EXPECT_EQ(table.DeadlineNs(2), 1234);
  EXPECT_TRUE(table.Cancelled(2)) << "its deadline is long over";
  EXPECT_FALSE(table.Cancelled(1));
}

TEST_F(CallTableTest, GivesOutMemoryUpToTheLimit) {
  Begin(1);
  EXPECT_NE(table.Allocate(1, 512 * 1024, 8), nullptr);
  EXPECT_EQ(table.Allocate(1, 1024 * 1024, 8), nullptr);
  EXPECT_EQ(table.Allocate(99, 8, 8), nullptr);
}

// Outlives its use: it waits for the thread that calls it.
struct Callback {
  explicit Callback(TaskThread& canceller) : thread(canceller) {}
  ~Callback() { EXPECT_TRUE(thread.WaitIdle(steady_clock::now() + kLong)); }
  TaskThread& thread;
  std::promise<void> ran;
  std::promise<void> release;
  std::atomic<int> count{0};
  static void Simple(void* arg) {
    auto& self = *static_cast<Callback*>(arg);
    if (++self.count == 1) self.ran.set_value();
  }
  static void Held(void* arg) {
    Simple(arg);
    static_cast<Callback*>(arg)->release.get_future().wait();
  }
};

TEST_F(CallTableTest, CallsBackOnceWhenCancelled) {
  Begin(1);
  Callback callback(canceller);
  EXPECT_TRUE(table.OnCancel(1, &Callback::Simple, &callback));
  EXPECT_FALSE(table.OnCancel(1, &Callback::Simple, &callback)) << "one is set already";
  table.Cancel(1);
  table.Cancel(1);
  ASSERT_EQ(callback.ran.get_future().wait_for(kLong), std::future_status::ready);
  ASSERT_TRUE(canceller.WaitIdle(steady_clock::now() + kLong));
  EXPECT_EQ(callback.count, 1);
}

TEST_F(CallTableTest, CallsBackAtOnceWhenItIsCancelledAlready) {
  Begin(1);
  table.Cancel(1);
  Callback callback(canceller);
  EXPECT_TRUE(table.OnCancel(1, &Callback::Simple, &callback));
  EXPECT_EQ(callback.ran.get_future().wait_for(kLong), std::future_status::ready);
}

TEST_F(CallTableTest, CallsBackAtTheDeadline) {
  channel::Call message;
  message.set_deadline_ns(base::ToNanoseconds(steady_clock::now() + std::chrono::milliseconds(30)));
  Begin(1, message);
  Callback callback(canceller);
  EXPECT_TRUE(table.OnCancel(1, &Callback::Simple, &callback));
  EXPECT_EQ(callback.ran.get_future().wait_for(kLong), std::future_status::ready);
}

TEST_F(CallTableTest, NeverCallsBackAfterTheFinish) {
  channel::Call message;
  message.set_deadline_ns(base::ToNanoseconds(steady_clock::now() + std::chrono::milliseconds(30)));
  Begin(1, message);
  Callback callback(canceller);
  EXPECT_TRUE(table.OnCancel(1, &Callback::Simple, &callback));
  table.Finish(1, GANTRY_OK, {});
  table.Cancel(1);
  std::promise<void> later;
  canceller.PostAt(steady_clock::now() + std::chrono::milliseconds(60), [&] { later.set_value(); });
  later.get_future().wait();
  ASSERT_TRUE(canceller.WaitIdle(steady_clock::now() + kLong));
  EXPECT_EQ(callback.count, 0);
}

TEST_F(CallTableTest, AFinishWaitsForACallbackThatRuns) {
  const auto call = Begin(1);
  Callback callback(canceller);
  EXPECT_TRUE(table.OnCancel(1, &Callback::Held, &callback));
  table.Cancel(1);
  callback.ran.get_future().wait();
  auto finish = std::async(std::launch::async, [&] { table.Finish(1, GANTRY_OK, {}); });
  EXPECT_EQ(finish.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  callback.release.set_value();
  finish.get();
  EXPECT_EQ(call->ended, 1);
}

TEST_F(CallTableTest, ACallbackMayFinishItsCall) {
  static CallTable* the_table = nullptr;
  the_table = &table;
  const auto call = Begin(1);
  EXPECT_TRUE(table.OnCancel(
      1, [](void*) { the_table->Finish(1, GANTRY_CANCELLED, {}); }, nullptr));
  table.Cancel(1);
  ASSERT_TRUE(canceller.WaitIdle(steady_clock::now() + kLong));
  EXPECT_EQ(call->outcome->code, base::Code::kCancelled);
}

TEST_F(CallTableTest, OfManyThreadsThatFinishOneWins) {
  for (uint64_t id = 1; id <= 200; ++id) {
    const auto call = Begin(id);
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) threads.emplace_back([&, id] { table.Finish(id, GANTRY_OK, {}); });
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(call->ended, 1);
  }
  EXPECT_EQ(misbehaviour.Summary(), "finish of a call that is not open 600");
}

}  // namespace
}  // namespace gantry::worker

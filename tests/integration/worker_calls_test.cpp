// SPDX-License-Identifier: Apache-2.0
// Calls through a real worker: what a plugin is given and gives, the thread model, fault domains,
// cancellation, credits, secrets, host services, and plugins that break the rules.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gantry/gantry.h"
#include "tests/integration/worker_process.hpp"

namespace gantry::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using ::testing::HasSubstr;

int64_t In(milliseconds time) { return base::ToNanoseconds(steady_clock::now() + time); }

TEST(WorkerCalls, APluginGetsTheRequestAndTheHostItsVolume) {
  WorkerProcess worker("good");
  ASSERT_EQ(worker.Create().code, GANTRY_OK);
  channel::Call call = CreateVolume("pvc-1");
  call.set_attempt(2);
  const Outcome outcome = worker.Run(call);
  ASSERT_EQ(outcome.code, GANTRY_OK) << outcome.message;
  ASSERT_EQ(outcome.emits.size(), 1u);
  const channel::Volume& volume = outcome.emits[0].volume();
  EXPECT_EQ(volume.handle(), "v-0123");
  EXPECT_EQ(volume.capacity_bytes(), 1u << 30);
  EXPECT_EQ(volume.context().at("name"), "pvc-1");
  EXPECT_EQ(volume.context().at("server"), "nas");
  EXPECT_EQ(volume.context().at("pvc"), "data");
  EXPECT_EQ(volume.context().at("parameters"), "1");
  EXPECT_EQ(volume.context().at("slack"), "zero");
  EXPECT_EQ(volume.context().at("attempt"), "2");
  EXPECT_EQ(volume.context().at("raw"), std::to_string(call.request().size()));
}

TEST(WorkerCalls, AnErrorOfThePluginComesThrough) {
  WorkerProcess worker("good");
  ASSERT_EQ(worker.Create().code, GANTRY_OK);
  const Outcome outcome = worker.Run(DeleteVolume("busy"));
  EXPECT_EQ(outcome.code, GANTRY_FAILED_PRECONDITION);
  EXPECT_EQ(outcome.message, "volume busy");
}

TEST(WorkerCalls, ASlotThatIsNullIsUnimplemented) {
  WorkerProcess worker("good");
  ASSERT_EQ(worker.Create().code, GANTRY_OK);
  const Outcome outcome = worker.Run(channel::EXPAND_VOLUME);
  EXPECT_EQ(outcome.code, GANTRY_UNIMPLEMENTED);
  EXPECT_EQ(outcome.message, "the backend has no expand_volume");
}

TEST(WorkerCalls, AnUnknownEnumNeverReachesThePlugin) {
  WorkerProcess worker("good");
  ASSERT_EQ(worker.Create().code, GANTRY_OK);
  channel::Call call;
  call.set_operation(channel::ATTACH);
  call.set_request("\x22\x04\x12\x00\x1a\x00", 6);  // a mount without an access mode
  const Outcome outcome = worker.Run(call);
  EXPECT_EQ(outcome.code, GANTRY_INVALID_ARGUMENT);
  EXPECT_EQ(outcome.message, "volume_capability.access_mode.mode is 0, expected 1 to 7");
}

TEST(WorkerCalls, ANodeOperationEmitsItsSource) {
  WorkerProcess worker("good");
  ASSERT_EQ(worker.Create().code, GANTRY_OK);
  channel::Call call;
  call.set_operation(channel::ATTACH);
  call.set_node_id("node-1");
  call.set_request("\x22\x06\x12\x00\x1a\x02\x08\x01", 8);  // a mount by one writer
  const Outcome outcome = worker.Run(call);
  ASSERT_EQ(outcome.code, GANTRY_OK) << outcome.message;
  EXPECT_EQ(outcome.message, "node-1");
  EXPECT_EQ(outcome.emits.at(0).source().source(), "nas:/x");
  EXPECT_EQ(outcome.emits.at(0).source().options(0), "nosuid");
}

TEST(WorkerCalls, ATaskEmitsItsProgress) {
  WorkerProcess worker("good");
  ASSERT_EQ(worker.Create().code, GANTRY_OK);
  channel::Call call;
  call.set_operation(channel::RUN_TASK);
  call.mutable_task()->set_kind("trash");
  call.mutable_task()->set_key("k1");
  const Outcome outcome = worker.Run(call);
  EXPECT_EQ(outcome.code, GANTRY_ABORTED);
  EXPECT_EQ(outcome.emits.at(0).progress().cursor(), "k1");
  EXPECT_EQ(outcome.emits.at(0).progress().total(), 2u);
}

TEST(WorkerCalls, AListWaitsForCreditsAndStopsWhenToldTo) {
  WorkerProcess worker("good");
  ASSERT_EQ(worker.Create().code, GANTRY_OK);
  channel::Call call;
  call.set_operation(channel::LIST_VOLUMES);
  call.set_credits(10);
  const uint64_t id = worker.Send(call);
  ASSERT_TRUE(worker.AwaitEmits(id, 10));
  worker.Credit(id, 5);
  ASSERT_TRUE(worker.AwaitEmits(id, 15));
  worker.Credit(id, 0, true);
  const Outcome outcome = worker.Await(id);
  EXPECT_EQ(outcome.code, GANTRY_OK);
  EXPECT_EQ(outcome.message, "15");
  EXPECT_EQ(outcome.emits.size(), 15u);
  call.set_credits(1000);
  EXPECT_EQ(worker.Run(call).emits.size(), 100u);
}

TEST(WorkerCalls, InputsLiveUntilAFinishFromAnotherThread) {
  WorkerProcess worker("finish_late_from_thread");
  ASSERT_EQ(worker.Create().code, GANTRY_OK);
  for (int i = 0; i < 3; ++i) {
    const Outcome outcome = worker.Run(CreateVolume("later"));
    ASSERT_EQ(outcome.code, GANTRY_OK);
    EXPECT_EQ(outcome.emits.at(0).volume().context().at("name"), "later");
  }
  EXPECT_EQ(worker.Run(channel::STOP).code, GANTRY_OK);
}

// ---- thread models

std::vector<uint64_t> SendDeletes(WorkerProcess& worker, int count, int handles) {
  std::vector<uint64_t> ids;
  for (int i = 0; i < count; ++i)
    ids.push_back(worker.Send(DeleteVolume("v" + std::to_string(i % handles))));
  return ids;
}

TEST(WorkerThreads, SerialMeansOneAtATime) {
  WorkerProcess worker("serial");
  ASSERT_EQ(worker.Create().code, GANTRY_OK);
  for (const uint64_t id : SendDeletes(worker, 30, 30))
    EXPECT_EQ(worker.Await(id).message, "most 1 of one 1");
}

TEST(WorkerThreads, PerVolumeMeansOneForEachVolume) {
  WorkerProcess worker("per_volume");
  ASSERT_EQ(worker.Create().code, GANTRY_OK);
  std::string last;
  for (const uint64_t id : SendDeletes(worker, 60, 3)) {
    last = worker.Await(id).message;
    EXPECT_THAT(last, HasSubstr("of one 1"));
  }
}

TEST(WorkerThreads, ParallelMeansCallsMaxAndNoMore) {
  WorkerProcess worker("parallel");
  ASSERT_EQ(worker.Create().code, GANTRY_OK);
  for (const uint64_t id : SendDeletes(worker, 20, 20))
    EXPECT_THAT(worker.Await(id).message, HasSubstr("most 4 "));
}

TEST(WorkerThreads, ADeadFaultDomainDelaysNoOther) {
  WorkerProcess worker("slow_domain");
  ASSERT_EQ(worker.Create().code, GANTRY_OK);
  std::vector<uint64_t> dead;
  for (int i = 0; i < 20; ++i) dead.push_back(worker.Send(CreateVolume("d", "dead")));
  for (int i = 0; i < 20; ++i) {
    const auto before = steady_clock::now();
    EXPECT_EQ(worker.Run(CreateVolume("a", "alive")).code, GANTRY_OK);
    EXPECT_LT(steady_clock::now() - before, std::chrono::seconds(10));
  }
  for (const uint64_t id : dead) worker.Cancel(id);
  int entered = 0;
  for (const uint64_t id : dead) entered += worker.Await(id).code == GANTRY_OK ? 1 : 0;
  EXPECT_LE(entered, 20);
  EXPECT_GE(entered, 2) << "two were inside and finish themselves";
}

TEST(WorkerThreads, ADomainsQueueIsBounded) {
  WorkerProcess worker("slow_domain");
  ASSERT_EQ(worker.Create().code, GANTRY_OK);
  std::vector<uint64_t> dead;
  for (int i = 0; i < 140; ++i) dead.push_back(worker.Send(CreateVolume("d", "dead")));
  // 2 run and 128 wait: of the rest the last is refused at the latest.
  const Outcome refused = worker.Await(dead.back());
  EXPECT_EQ(refused.code, GANTRY_UNAVAILABLE);
  EXPECT_EQ(refused.message, "fault domain nas-dead has 128 calls waiting");
}

TEST(WorkerThreads, ACallWhoseDeadlinePassesInTheQueueNeverEnters) {
  WorkerProcess worker("slow_domain");
  ASSERT_EQ(worker.Create().code, GANTRY_OK);
  const uint64_t first = worker.Send(CreateVolume("d", "dead"));
  const uint64_t second = worker.Send(CreateVolume("d", "dead"));
  channel::Call late = CreateVolume("late", "dead");
  late.set_deadline_ns(In(milliseconds(100)));
  const Outcome outcome = worker.Run(late);
  EXPECT_EQ(outcome.code, GANTRY_DEADLINE_EXCEEDED);
  EXPECT_EQ(outcome.message, "the deadline passed while the call was waiting");
  const uint64_t waiting = worker.Send(CreateVolume("w", "dead"));
  worker.Cancel(waiting);
  EXPECT_EQ(worker.Await(waiting).code, GANTRY_CANCELLED);
  worker.Cancel(first);
  worker.Cancel(second);
  EXPECT_EQ(worker.Await(first).code, GANTRY_OK);
  EXPECT_EQ(worker.Await(second).code, GANTRY_OK);
}

// ---- cancellation

TEST(WorkerCancel, CallsThePluginBack) {
  WorkerProcess worker("waits_for_cancel");
  ASSERT_EQ(worker.Create().code, GANTRY_OK);
  const uint64_t id = worker.Send(CreateVolume("x"));
  ASSERT_TRUE(worker.AwaitLog("waiting for the cancel"));
  worker.Cancel(id);
  const Outcome outcome = worker.Await(id);
  EXPECT_EQ(outcome.code, GANTRY_CANCELLED);
  EXPECT_EQ(outcome.message, "by the callback");
}

TEST(WorkerCancel, CallsThePluginBackAtTheDeadline) {
  WorkerProcess worker("waits_for_cancel");
  ASSERT_EQ(worker.Create().code, GANTRY_OK);
  channel::Call call = CreateVolume("x");
  // Far enough that the call has entered the plugin by then, under a sanitizer too.
  call.set_deadline_ns(In(milliseconds(1000)));
  EXPECT_EQ(worker.Run(call).message, "by the callback");
}

// ---- secrets

TEST(WorkerSecrets, AreReadableUntilTheFinishAndThenWiped) {
  WorkerProcess worker("reads_secrets");
  ASSERT_EQ(worker.Create().code, GANTRY_OK);
  const Outcome outcome = worker.Run(CreateVolume("x"), {{"password", "hunter2"}});
  ASSERT_EQ(outcome.code, GANTRY_OK) << outcome.message;
  const auto& context = outcome.emits.at(0).volume().context();
  EXPECT_EQ(context.at("given"), "1");
  EXPECT_EQ(context.at("length"), "7");
  EXPECT_EQ(context.at("right"), "yes");
  EXPECT_EQ(context.at("terminated"), "yes");
  EXPECT_EQ(context.at("other"), "0");
  EXPECT_TRUE(worker.AwaitLog("the secret is wiped")) << worker.Log();
}

TEST(WorkerSecrets, BelongToTheirCallAlone) {
  WorkerProcess worker("reads_secrets");
  ASSERT_EQ(worker.Create().code, GANTRY_OK);
  (void)worker.Run(CreateVolume("x"), {{"password", "hunter2"}});
  EXPECT_EQ(worker.Run(CreateVolume("x")).emits.at(0).volume().context().at("given"), "0");
}

// ---- host services

TEST(WorkerServices, AskTheHostAndWaitForItsReply) {
  WorkerProcess worker("services");
  ASSERT_EQ(worker.Create().code, GANTRY_OK);
  uint64_t exec_for = 0;
  uint64_t counted = 0;
  worker.OnHostCall([&](const channel::HostCall& call) -> std::optional<channel::HostReply> {
    channel::HostReply reply;
    switch (call.service_case()) {
      case channel::HostCall::kKvPut:
        if (call.kv_put().value() != "value") reply.set_code(GANTRY_INTERNAL);
        break;
      case channel::HostCall::kKvGet:
        reply.set_value("value");
        reply.set_version(4);
        break;
      case channel::HostCall::kKvScan:
        reply.add_keys(call.kv_scan().prefix() + "1");
        reply.add_keys(call.kv_scan().prefix() + "2");
        break;
      case channel::HostCall::kKvRemove:
        if (call.kv_remove().key() == "silence") return std::nullopt;
        reply.set_code(GANTRY_ABORTED);
        break;
      case channel::HostCall::kExec:
        exec_for = call.call_id();
        reply.set_value(call.exec().argv(0) + " " + call.exec().argv(1));
        reply.set_error_output("warning");
        reply.set_exit_status(2);
        break;
      case channel::HostCall::kSecretGet:
        reply.set_value("hunter2");
        break;
      case channel::HostCall::kCount:
        counted += call.count().add();
        return std::nullopt;
      default:
        return std::nullopt;
    }
    return reply;
  });
  channel::Call call = CreateVolume("x");
  call.set_deadline_ns(In(milliseconds(60000)));
  const uint64_t id = worker.Send(call);
  const Outcome outcome = worker.Await(id);
  ASSERT_EQ(outcome.code, GANTRY_OK) << outcome.message;
  const auto& told = outcome.emits.at(0).volume().context();
  EXPECT_EQ(told.at("put"), "0");
  EXPECT_EQ(told.at("get"), "0");
  EXPECT_EQ(told.at("value"), "val of 5 version 4");
  EXPECT_EQ(told.at("bad key"), std::to_string(GANTRY_INVALID_ARGUMENT));
  EXPECT_EQ(told.at("scan"), "0");
  EXPECT_EQ(told.at("seen"), "k1;k2;");
  EXPECT_EQ(told.at("remove"), std::to_string(GANTRY_ABORTED));
  EXPECT_EQ(told.at("exec"), "0");
  EXPECT_EQ(told.at("exec result"), "rbd ls exit 2 stderr 7");
  EXPECT_EQ(told.at("secret"), "0");
  EXPECT_EQ(told.at("secret length"), "7");
  EXPECT_EQ(told.at("late"), std::to_string(GANTRY_DEADLINE_EXCEEDED));
  EXPECT_EQ(exec_for, id);
  EXPECT_EQ(counted, 3u);
}

// ---- plugins that break the rules

TEST(WorkerMisbehaviour, ADoubleFinishIsCountedAndNothingElse) {
  WorkerProcess worker("double_finish");
  ASSERT_EQ(worker.Create().code, GANTRY_OK);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(worker.Run(CreateVolume("x")).code, GANTRY_OK);
  EXPECT_EQ(worker.Run(channel::STOP).code, GANTRY_OK);
  EXPECT_EQ(worker.AwaitExit().code, 0);
  const std::string log = worker.Log();
  const std::string kind = "finish of a call that is not open";
  EXPECT_THAT(log, HasSubstr("warning: the plugin misbehaves (" + kind + ", said once)"));
  EXPECT_THAT(log, HasSubstr("in its life the plugin misbehaved: " + kind + " 9"));
}

TEST(WorkerMisbehaviour, WhatCannotBeStoredEndsTheCallUnavailable) {
  WorkerProcess worker("emits_junk");
  ASSERT_EQ(worker.Create().code, GANTRY_OK);
  const auto message = [&](const char* name) {
    const Outcome outcome = worker.Run(CreateVolume(name));
    EXPECT_EQ(outcome.code, GANTRY_UNAVAILABLE) << name;
    EXPECT_TRUE(outcome.emits.empty()) << name;
    return outcome.message;
  };
  EXPECT_THAT(message("bad handle"), HasSubstr("volume.handle is \"a/b\""));
  EXPECT_THAT(message("null list"), HasSubstr("volume.context is NULL with a count of 5"));
  EXPECT_THAT(message("not utf-8"), HasSubstr("volume.context[k] is not UTF-8 at byte 0"));
  EXPECT_THAT(message("wrong item"), HasSubstr("an item that CREATE_VOLUME has no use for"));
  EXPECT_THAT(message("null item"), HasSubstr("a NULL item"));
  EXPECT_THAT(message("unknown code"), HasSubstr("unknown code 77"));
}

TEST(WorkerMisbehaviour, AnOldersPluginsShorterStructIsNone) {
  WorkerProcess worker("emits_junk");
  ASSERT_EQ(worker.Create().code, GANTRY_OK);
  const Outcome outcome = worker.Run(CreateVolume("short struct"));
  ASSERT_EQ(outcome.code, GANTRY_OK) << outcome.message;
  EXPECT_EQ(outcome.emits.at(0).volume().handle(), "short");
  EXPECT_EQ(outcome.emits.at(0).volume().capacity_bytes(), 0u);
}

}  // namespace
}  // namespace gantry::testing

// SPDX-License-Identifier: Apache-2.0
// The memory backend through its C table, as a worker would drive it, with a host in this process
// that can lose what it was asked, or its answer, at every step.
#include <gantry/gantry.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "sdk/examples/memory/fake_host.hpp"

namespace gantry::example {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;
using testing::StartsWith;

constexpr uint64_t kMiB = 1u << 20;

// A request in zeroed memory with slack behind it (abi.h, rule 1).
template <class Request>
struct Zeroed {
  Zeroed() {
    std::memset(static_cast<void*>(this), 0, sizeof *this), request.size = sizeof request;
  }
  Request* operator->() { return &request; }

  Request request;
  char slack[256];
};

gantry_capability Mount(gantry_access_mode mode = GANTRY_SINGLE_NODE_WRITER) {
  gantry_capability capability{};
  capability.access_type = GANTRY_ACCESS_MOUNT;
  capability.access_mode = mode;
  return capability;
}

class Memory : public testing::Test {
 protected:
  Memory() { Make("{\"capacity_bytes\": 104857600, \"max_bytes\": 67108864}"); }
  ~Memory() override { Drop(); }

  void Drop() {
    if (instance_ != nullptr) plugin_->destroy(std::exchange(instance_, nullptr));
  }

  Answer Make(const std::string& config, const std::string& owner = "demo",
              uint32_t record_format = 0) {
    Drop();
    const char* why = nullptr;
    plugin_ = gantry_plugin_entry_v0(GANTRY_ABI_MINOR, &why);
    Zeroed<gantry_create> request;
    // Gone when create has finished: what the backend keeps it must have copied.
    const auto lent = std::make_unique<std::string>(config);
    const auto lent_owner = std::make_unique<std::string>(owner);
    request->config_json = Str(*lent);
    request->owner = Str(*lent_owner);
    request->roles = GANTRY_ROLE_CONTROLLER | GANTRY_ROLE_NODE;
    request->record_format = record_format;
    plugin_->create(host_.table(), host_.Begin(), &request.request, &instance_);
    EXPECT_EQ(host_.answer.finishes, 1);
    EXPECT_EQ(instance_ != nullptr, host_.answer.code == GANTRY_OK);
    return host_.answer;
  }

  const gantry_controller* controller() const {
    return static_cast<const gantry_controller*>(
        plugin_->extension(instance_, GANTRY_EXT_CONTROLLER));
  }
  const gantry_node_ops* node() const {
    return static_cast<const gantry_node_ops*>(plugin_->extension(instance_, GANTRY_EXT_NODE));
  }

  template <class Request>
  Answer Run(void (*slot)(gantry_instance*, gantry_call, const Request*),
             const Zeroed<Request>& request) {
    slot(instance_, host_.Begin(), &request.request);
    EXPECT_EQ(host_.answer.finishes, 1) << "each call ends exactly once";
    return host_.answer;
  }

  // 'a' -> a key of the form that the host makes.
  static std::string Key(char name) { return std::string(32, name); }
  static std::string Handle(char name) { return "m-" + Key(name); }

  // A request for the volume `name`, whose capability and texts live as long as the fixture.
  Zeroed<gantry_create_volume> Creation(char name, uint64_t required, uint64_t limit = 0) {
    Zeroed<gantry_create_volume> request;
    key_ = Key(name);
    capability_ = Mount();
    request->name = Str(key_);
    request->key = Str(key_);
    request->required_bytes = required;
    request->limit_bytes = limit;
    request->capabilities = &capability_;
    request->capability_count = 1;
    return request;
  }
  Answer Create(char name, uint64_t required, uint64_t limit = 0) {
    return Run(controller()->create_volume, Creation(name, required, limit));
  }
  Answer Delete(const std::string& handle) {
    Zeroed<gantry_volume_ref> request;
    request->handle = Str(handle);
    return Run(controller()->delete_volume, request);
  }
  Answer Get(const std::string& handle) {
    Zeroed<gantry_volume_ref> request;
    request->handle = Str(handle);
    return Run(controller()->get_volume, request);
  }
  Answer List(const std::string& after = "") {
    Zeroed<gantry_list_volumes> request;
    request->after = Str(after);
    return Run(controller()->list_volumes, request);
  }
  Answer Capacity() {
    Zeroed<gantry_get_capacity> request;
    return Run(controller()->get_capacity, request);
  }
  Answer Expand(const std::string& handle, uint64_t required, uint64_t limit = 0) {
    Zeroed<gantry_expand_volume> request;
    request->handle = Str(handle);
    request->required_bytes = required;
    request->limit_bytes = limit;
    return Run(controller()->expand_volume, request);
  }
  Answer Attach(const std::string& handle) {
    Zeroed<gantry_attach> request;
    request->handle = Str(handle);
    request->capability = Mount();
    return Run(node()->attach, request);
  }
  uint64_t FreeBytes() { return Capacity().capacities.at(0).available_bytes; }

  FakeHost host_;
  const gantry_plugin* plugin_ = nullptr;
  gantry_instance* instance_ = nullptr;
  std::string key_;
  gantry_capability capability_{};
};

TEST_F(Memory, LivesAWholeLife) {
  EXPECT_THAT(Create('a', 8 * kMiB).volumes, ElementsAre(Pair(Handle('a'), 8 * kMiB)));
  EXPECT_THAT(Get(Handle('a')).volumes, ElementsAre(Pair(Handle('a'), 8 * kMiB)));
  const Answer attached = Attach(Handle('a'));
  ASSERT_EQ(attached.sources.size(), 1u);
  EXPECT_EQ(attached.sources[0].fs_type, "tmpfs");
  EXPECT_EQ(attached.sources[0].source, "tmpfs");
  EXPECT_THAT(attached.sources[0].options, ElementsAre("size=8388608", "mode=0777"));
  EXPECT_THAT(Expand(Handle('a'), 16 * kMiB).volumes, ElementsAre(Pair(Handle('a'), 16 * kMiB)));
  EXPECT_THAT(Attach(Handle('a')).sources.at(0).options, ElementsAre("size=16777216", "mode=0777"));
  EXPECT_THAT(List().volumes, ElementsAre(Pair(Handle('a'), 16 * kMiB)));
  EXPECT_EQ(Delete(Handle('a')).code, GANTRY_OK);
  EXPECT_THAT(List().volumes, IsEmpty());
  EXPECT_THAT(host_.keys, IsEmpty());
}

TEST_F(Memory, WritesARecordThatTellsWhatItIs) {
  Create('a', kMiB);
  ASSERT_EQ(host_.keys.size(), 1u);
  const auto& [key, value] = *host_.keys.begin();
  EXPECT_EQ(key, "volume." + Handle('a'));
  EXPECT_EQ(value.first,
            "gantry-memory 1\nhandle " + Handle('a') + "\nowner demo\nsize_bytes 1048576\n");
}

TEST_F(Memory, KeepsItsVolumesWhenTheInstanceIsMadeAgain) {
  Create('a', kMiB);
  Make("{}");
  EXPECT_THAT(Get(Handle('a')).volumes, ElementsAre(Pair(Handle('a'), kMiB)));
}

TEST_F(Memory, MakesOneVolumeOfOneName) {
  Create('a', kMiB);
  EXPECT_THAT(Create('a', kMiB).volumes, ElementsAre(Pair(Handle('a'), kMiB)));
  EXPECT_THAT(Create('a', 0).volumes, ElementsAre(Pair(Handle('a'), kMiB)));
  EXPECT_THAT(Create('a', 4096, kMiB).volumes, ElementsAre(Pair(Handle('a'), kMiB)));
  EXPECT_EQ(host_.keys.size(), 1u);
}

TEST_F(Memory, RefusesTheNameOfAVolumeOfAnotherSize) {
  Create('a', kMiB);
  for (const auto& [required, limit] :
       {std::pair(kMiB + 1, uint64_t{0}), std::pair(uint64_t{4096}, kMiB - 1)}) {
    const Answer answer = Create('a', required, limit);
    EXPECT_EQ(answer.code, GANTRY_ALREADY_EXISTS);
    EXPECT_THAT(answer.message, HasSubstr("1048576"));
    EXPECT_THAT(answer.volumes, IsEmpty());
  }
}

TEST_F(Memory, RoundsASizeUpToPages) {
  EXPECT_THAT(Create('a', 1).volumes, ElementsAre(Pair(Handle('a'), 4096u)));
  EXPECT_EQ(Create('b', 1, 4095).code, GANTRY_OUT_OF_RANGE);
}

TEST_F(Memory, ChoosesASizeWhenNoneIsWished) {
  EXPECT_THAT(Create('a', 0).volumes, ElementsAre(Pair(Handle('a'), 64 * kMiB)));
  EXPECT_THAT(Create('b', 0, 10000).volumes, ElementsAre(Pair(Handle('b'), 8192u)));
  EXPECT_EQ(Create('c', 0, 100).code, GANTRY_OUT_OF_RANGE);
}

TEST_F(Memory, RefusesMoreThanMaxBytes) {
  const Answer answer = Create('a', 64 * kMiB + 1);
  EXPECT_EQ(answer.code, GANTRY_OUT_OF_RANGE);
  EXPECT_THAT(answer.message, StartsWith("required_bytes: 67108865: expected at most 67108864"));
  EXPECT_EQ(Create('a', INT64_MAX).code, GANTRY_OUT_OF_RANGE);
  EXPECT_THAT(host_.keys, IsEmpty());
}

TEST_F(Memory, RefusesWhatDoesNotFitIntoTheCapacity) {
  Create('a', 60 * kMiB);
  EXPECT_EQ(Create('b', 40 * kMiB + 1).code, GANTRY_RESOURCE_EXHAUSTED);
  EXPECT_EQ(Create('b', 40 * kMiB).code, GANTRY_OK);
  EXPECT_EQ(Expand(Handle('b'), 40 * kMiB + 1).code, GANTRY_RESOURCE_EXHAUSTED);
  EXPECT_EQ(FreeBytes(), 0u);
}

TEST_F(Memory, TellsWhatIsLeft) {
  EXPECT_EQ(FreeBytes(), 100 * kMiB);
  Create('a', 60 * kMiB);
  const gantry_capacity left = Capacity().capacities.at(0);
  EXPECT_EQ(left.available_bytes, 40 * kMiB);
  EXPECT_EQ(left.has_maximum, 1u);
  EXPECT_EQ(left.maximum_volume_bytes, 40 * kMiB);
  EXPECT_EQ(left.minimum_volume_bytes, 4096u);
}

TEST_F(Memory, HasAtMostSoManyVolumes) {
  for (int i = 0; i < 1024; ++i) {
    char key[33];
    snprintf(key, sizeof key, "%032x", static_cast<unsigned>(i));
    const std::string handle = std::string("m-") + key;
    host_.keys["volume." + handle] = {
        "gantry-memory 1\nhandle " + handle + "\nowner demo\nsize_bytes 4096\n", 1};
  }
  EXPECT_EQ(List().volumes.size(), 1024u);
  EXPECT_EQ(Create('a', 4096).code, GANTRY_RESOURCE_EXHAUSTED);
}

TEST_F(Memory, RefusesContent) {
  for (const gantry_content_kind kind : {1, 2, 77}) {
    auto request = Creation('a', kMiB);
    request->content_kind = kind;
    EXPECT_EQ(Run(controller()->create_volume, request).code, GANTRY_INVALID_ARGUMENT);
  }
}

TEST_F(Memory, NamesAParameterThatItDoesNotKnow) {
  const gantry_pair pairs[] = {{{"colour", 6}, {"blue", 4}}};
  auto request = Creation('a', kMiB);
  request->parameters = {pairs, 1};
  Answer answer = Run(controller()->create_volume, request);
  EXPECT_EQ(answer.code, GANTRY_INVALID_ARGUMENT);
  EXPECT_THAT(answer.message, StartsWith("parameters.colour: unknown"));
  request->parameters = {};
  request->mutable_parameters = {pairs, 1};
  answer = Run(controller()->create_volume, request);
  EXPECT_EQ(answer.code, GANTRY_INVALID_ARGUMENT);
  EXPECT_THAT(answer.message, StartsWith("mutable_parameters.colour: unknown"));
}

TEST_F(Memory, CutsALongNameBetweenCharacters) {
  std::string name = "x";
  for (int i = 0; i < 60; ++i) name += "\xC3\xA4";  // ä
  const gantry_pair pairs[] = {{Str(name), {"", 0}}};
  auto request = Creation('a', kMiB);
  request->parameters = {pairs, 1};
  EXPECT_THAT(Run(controller()->create_volume, request).message,
              StartsWith("parameters." + name.substr(0, 63) + ": unknown"));
}

TEST_F(Memory, TakesTheModesOfASingleNodeAndNoOther) {
  for (gantry_access_mode mode = 0; mode <= 8; ++mode) {
    auto request = Creation('a', kMiB);
    capability_.access_mode = mode;
    const bool is_single = mode == 1 || mode == 2 || mode == 6 || mode == 7;
    EXPECT_EQ(Run(controller()->create_volume, request).code,
              is_single ? GANTRY_OK : GANTRY_INVALID_ARGUMENT)
        << mode;
    EXPECT_EQ((plugin_->manifest->access_modes & GANTRY_ACCESS_MODE_BIT(mode)) != 0, is_single);
  }
}

TEST_F(Memory, RefusesBlockAndOtherFilesystems) {
  auto request = Creation('a', kMiB);
  capability_.access_type = GANTRY_ACCESS_BLOCK;
  EXPECT_EQ(Run(controller()->create_volume, request).code, GANTRY_INVALID_ARGUMENT);
  capability_ = Mount();
  capability_.fs_type = {"ext4", 4};
  const Answer answer = Run(controller()->create_volume, request);
  EXPECT_EQ(answer.code, GANTRY_INVALID_ARGUMENT);
  EXPECT_THAT(answer.message, StartsWith("fs_type: \"ext4\": expected \"tmpfs\""));
  capability_.fs_type = {"tmpfs", 5};
  EXPECT_EQ(Run(controller()->create_volume, request).code, GANTRY_OK);
}

TEST_F(Memory, RefusesAKeyThatMakesNoHandle) {
  auto request = Creation('a', kMiB);
  request->key = {"short", 5};
  EXPECT_EQ(Run(controller()->create_volume, request).code, GANTRY_INVALID_ARGUMENT);
  const std::string no_hex(32, '/');
  request->key = Str(no_hex);
  EXPECT_EQ(Run(controller()->create_volume, request).code, GANTRY_INVALID_ARGUMENT);
  EXPECT_THAT(host_.keys, IsEmpty());
}

TEST_F(Memory, DoesNotKnowForeignHandles) {
  for (const std::string& handle : {std::string(""), std::string("x"), std::string("a/../b"),
                                    Handle('g'), Handle('a'), Handle('a') + "a"}) {
    EXPECT_EQ(Get(handle).code, GANTRY_NOT_FOUND) << handle;
    EXPECT_EQ(Expand(handle, kMiB).code, GANTRY_NOT_FOUND) << handle;
    EXPECT_EQ(Attach(handle).code, GANTRY_NOT_FOUND) << handle;
    EXPECT_EQ(Delete(handle).code, GANTRY_OK) << handle;
  }
}

TEST_F(Memory, ListsInOrderFromAHandleOn) {
  for (const char name : {'c', 'a', 'b'}) Create(name, kMiB);
  EXPECT_THAT(List().volumes, ElementsAre(Pair(Handle('a'), kMiB), Pair(Handle('b'), kMiB),
                                          Pair(Handle('c'), kMiB)));
  EXPECT_THAT(List(Handle('a')).volumes,
              ElementsAre(Pair(Handle('b'), kMiB), Pair(Handle('c'), kMiB)));
  EXPECT_THAT(List("m-b").volumes, ElementsAre(Pair(Handle('b'), kMiB), Pair(Handle('c'), kMiB)));
  EXPECT_THAT(List(Handle('c')).volumes, IsEmpty());
  EXPECT_THAT(List("z").volumes, IsEmpty());
}

TEST_F(Memory, StopsListingWhenTheHostWantsNoMore) {
  for (const char name : {'a', 'b', 'c'}) Create(name, kMiB);
  host_.page_entries = 2;
  const Answer answer = List();
  EXPECT_EQ(answer.code, GANTRY_OK);
  EXPECT_EQ(answer.volumes.size(), 2u);
}

TEST_F(Memory, LeavesOutWhatIsRemovedWhileItLists) {
  Create('a', kMiB);
  Create('b', kMiB);
  host_.removed_by_scan = "volume." + Handle('a');
  EXPECT_THAT(List().volumes, ElementsAre(Pair(Handle('b'), kMiB)));
}

TEST_F(Memory, ExpandsOnlyUpwards) {
  Create('a', 2 * kMiB);
  EXPECT_THAT(Expand(Handle('a'), kMiB).volumes, ElementsAre(Pair(Handle('a'), 2 * kMiB)));
  EXPECT_EQ(Expand(Handle('a'), 65 * kMiB).code, GANTRY_OUT_OF_RANGE);
  EXPECT_EQ(Expand(Handle('a'), 2 * kMiB + 1, 2 * kMiB + 2).code, GANTRY_OUT_OF_RANGE);
  EXPECT_THAT(Get(Handle('a')).volumes, ElementsAre(Pair(Handle('a'), 2 * kMiB)));
}

TEST_F(Memory, ChangesNothingWhenCancelled) {
  host_.polls_until_cancel = 0;
  EXPECT_EQ(Create('a', kMiB).code, GANTRY_CANCELLED);
  EXPECT_THAT(host_.keys, IsEmpty());
  Create('a', kMiB);
  const auto before = host_.keys;
  host_.polls_until_cancel = 1;  // the sum of sizes polls as well
  EXPECT_EQ(Expand(Handle('a'), 2 * kMiB).code, GANTRY_CANCELLED);
  host_.polls_until_cancel = 0;
  EXPECT_EQ(Delete(Handle('a')).code, GANTRY_CANCELLED);
  host_.polls_until_cancel = 0;
  EXPECT_EQ(List().code, GANTRY_CANCELLED);
  EXPECT_EQ(host_.keys, before);
}

TEST_F(Memory, FailsWhenTheCallHasNoMemoryLeft) {
  host_.is_arena_full = true;
  EXPECT_EQ(List().code, GANTRY_RESOURCE_EXHAUSTED);
}

TEST_F(Memory, MakesTheVolumeOnTheRetryWhereverTheStoreFailed) {
  Create('b', kMiB);
  const auto before = host_.keys;
  for (const Loses what : {Loses::kRequest, Loses::kAnswer}) {
    int failed = 0;
    for (int step = 0;; ++step) {
      host_.keys = before;
      host_.FailAt(step, what);
      const gantry_code code = Create('a', kMiB).code;
      host_.FailAt(INT_MAX, Loses::kNothing);
      if (code == GANTRY_OK) break;
      EXPECT_EQ(code, GANTRY_UNAVAILABLE) << step;
      EXPECT_THAT(Create('a', kMiB).volumes, ElementsAre(Pair(Handle('a'), kMiB))) << step;
      EXPECT_EQ(host_.keys.size(), 2u) << step;
      ++failed;
    }
    EXPECT_EQ(failed, 4) << "get, scan, get of the other volume, put";
  }
}

TEST_F(Memory, ExpandsOnTheRetryWhereverTheStoreFailed) {
  Create('a', kMiB);
  const auto before = host_.keys;
  for (const Loses what : {Loses::kRequest, Loses::kAnswer}) {
    int failed = 0;
    for (int step = 0;; ++step) {
      host_.keys = before;
      host_.FailAt(step, what);
      const gantry_code code = Expand(Handle('a'), 3 * kMiB).code;
      host_.FailAt(INT_MAX, Loses::kNothing);
      if (code == GANTRY_OK) break;
      EXPECT_EQ(code, GANTRY_UNAVAILABLE) << step;
      EXPECT_THAT(Expand(Handle('a'), 3 * kMiB).volumes, ElementsAre(Pair(Handle('a'), 3 * kMiB)));
      ++failed;
    }
    EXPECT_EQ(failed, 4) << "get, scan, get, put";
  }
}

TEST_F(Memory, DeletesOnTheRetryWhereverTheStoreFailed) {
  Create('a', kMiB);
  const auto before = host_.keys;
  for (const Loses what : {Loses::kRequest, Loses::kAnswer}) {
    for (const int step : {0, 1}) {
      host_.keys = before;
      host_.FailAt(step, what);
      EXPECT_EQ(Delete(Handle('a')).code, GANTRY_UNAVAILABLE) << step;
      host_.FailAt(INT_MAX, Loses::kNothing);
      EXPECT_EQ(Delete(Handle('a')).code, GANTRY_OK) << step;
      EXPECT_THAT(host_.keys, IsEmpty());
    }
  }
}

TEST_F(Memory, ReadsFailWhereverTheStoreFailed) {
  Create('a', kMiB);
  for (const int step : {0, 1}) {
    host_.FailAt(step, Loses::kAnswer);
    EXPECT_EQ(List().code, GANTRY_UNAVAILABLE) << step;
    host_.FailAt(step, Loses::kAnswer);
    EXPECT_EQ(Capacity().code, GANTRY_UNAVAILABLE) << step;
  }
  host_.FailAt(0, Loses::kRequest);
  EXPECT_EQ(Get(Handle('a')).code, GANTRY_UNAVAILABLE);
  host_.FailAt(0, Loses::kRequest);
  EXPECT_EQ(Attach(Handle('a')).code, GANTRY_UNAVAILABLE);
}

TEST_F(Memory, AnswersNoFailureOfTheStoreWithAFinalCodeThatWouldLeakAVolume) {
  const std::pair<gantry_code, gantry_code> answers[] = {
      {GANTRY_INTERNAL, GANTRY_UNAVAILABLE},
      {GANTRY_UNKNOWN, GANTRY_UNAVAILABLE},
      {GANTRY_ABORTED, GANTRY_ABORTED},
      {GANTRY_DEADLINE_EXCEEDED, GANTRY_DEADLINE_EXCEEDED}};
  for (const auto& [given, expected] : answers) {
    host_.keys.clear();
    host_.failure = given;
    host_.FailAt(2, Loses::kAnswer);
    EXPECT_EQ(Create('a', kMiB).code, expected);
  }
}

TEST_F(Memory, TouchesNoRecordThatIsNotItsOwn) {
  Create('a', kMiB);
  const std::string key = host_.keys.begin()->first;
  const std::string good = host_.keys.begin()->second.first;
  const auto replaced = [&good](const std::string& from, const std::string& to) {
    return std::string(good).replace(good.find(from), from.size(), to);
  };
  for (const std::string& value :
       {std::string(), std::string("x"), good + "\n", good.substr(0, good.size() - 1),
        good.substr(0, good.size() - 3), replaced("gantry-memory 1", "gantry-memory 2"),
        replaced("demo", "other"), replaced(Handle('a'), Handle('b')), replaced("1048576", ""),
        replaced("1048576", "-1"), replaced("1048576", "99999999999999999999"),
        replaced("1048576", "01048576"), good + std::string(300, 'x')}) {
    host_.keys[key] = {value, 5};
    EXPECT_EQ(Delete(Handle('a')).code, GANTRY_DATA_LOSS) << value;
    EXPECT_EQ(Create('a', kMiB).code, GANTRY_DATA_LOSS) << value;
    EXPECT_EQ(List().code, GANTRY_DATA_LOSS) << value;
    EXPECT_EQ(host_.keys.at(key).first, value);
  }
}

TEST_F(Memory, RefusesAStoreWithStrangeKeys) {
  host_.keys["volume.m-x"] = {"", 1};
  EXPECT_EQ(List().code, GANTRY_DATA_LOSS);
  EXPECT_EQ(Create('a', kMiB).code, GANTRY_DATA_LOSS);
}

TEST_F(Memory, TakesItsConfiguration) {
  EXPECT_EQ(Make("{}").code, GANTRY_OK);
  EXPECT_EQ(FreeBytes(), 1024 * kMiB);
  EXPECT_THAT(Create('d', 0).volumes, ElementsAre(Pair(Handle('d'), 64 * kMiB)));
  host_.keys.clear();
  EXPECT_EQ(Make(" {\n\"max_bytes\" :\t8192 } ").code, GANTRY_OK);
  EXPECT_EQ(Create('a', 8193).code, GANTRY_OUT_OF_RANGE);
  EXPECT_THAT(Create('a', 0).volumes, ElementsAre(Pair(Handle('a'), 8192u)));
  EXPECT_EQ(Make("{\"max_bytes\":10000}").code, GANTRY_OK);
  EXPECT_EQ(Create('b', 10000).code, GANTRY_OUT_OF_RANGE) << "three pages are more than max_bytes";
  host_.keys.clear();
  EXPECT_EQ(Make("{\"max_bytes\":8192,\"capacity_bytes\":10000}").code, GANTRY_OK);
  EXPECT_EQ(FreeBytes(), 8192u);
}

TEST_F(Memory, RefusesAWrongConfigurationByItsKey) {
  for (const auto& [config, message] : std::vector<std::pair<std::string, std::string>>{
           {"", "config: expected a JSON object"},
           {"null", "config: expected a JSON object"},
           {"[]", "config: expected a JSON object"},
           {"{", "config: expected a key"},
           {"{,}", "config: expected a key"},
           {"{} {}", "config: expected nothing behind"},
           {"{\"max_byte\":1}", "config.max_byte: unknown: expected capacity_bytes or max_bytes"},
           {"{\"\":1}", "config.: unknown"},
           {"{\"max_bytes\":\"1m\"}",
            "config.max_bytes: \"1m\": expected a whole number from 4096"},
           {"{\"max_bytes\":4095}", "config.max_bytes: 4095: expected"},
           {"{\"max_bytes\":-4096}", "config.max_bytes: -4096: expected"},
           {"{\"max_bytes\":1e9}", "config.max_bytes: 1e9: expected"},
           {"{\"max_bytes\":4096.5}", "config.max_bytes: 4096.5: expected"},
           {"{\"max_bytes\":1125899906842625}", "config.max_bytes: 1125899906842625: expected"},
           {"{\"max_bytes\":99999999999999999999}", "config.max_bytes: 99999999999999999999: exp"},
           {"{\"max_bytes\":true , \"x\":1}", "config.max_bytes: true: expected"},
           {"{\"max_bytes\":}", "config.max_bytes: : expected"},
           {"{\"max_bytes\"}", "config.max_bytes: : expected"},
           {"{\"max_bytes", "config.max_bytes: : expected"},
           {"{\"max_bytes\":8192", "config.max_bytes: 8192: expected"},
           {"{\"max_bytes\":8192,}", "config: expected a key"},
           {"{\"max_bytes\":8192,\"max_bytes\":8192}", "config.max_bytes: given twice"}}) {
    const Answer answer = Make(config);
    EXPECT_EQ(answer.code, GANTRY_INVALID_ARGUMENT) << config;
    EXPECT_THAT(answer.message, StartsWith(message)) << config;
  }
}

TEST_F(Memory, RefusesAnOwnerThatWouldBreakARecord) {
  EXPECT_EQ(Make("{}", "").code, GANTRY_INVALID_ARGUMENT);
  EXPECT_EQ(Make("{}", "a\nb").code, GANTRY_INVALID_ARGUMENT);
  EXPECT_EQ(Make("{}", std::string(65, 'x')).code, GANTRY_INVALID_ARGUMENT);
  EXPECT_EQ(Make("{}", std::string(64, 'x')).code, GANTRY_OK);
  EXPECT_EQ(Create('a', kMiB).code, GANTRY_OK);
  EXPECT_EQ(Get(Handle('a')).code, GANTRY_OK);
}

TEST_F(Memory, RefusesARecordFormatThatItDoesNotWrite) {
  EXPECT_EQ(Make("{}", "demo", 1).code, GANTRY_OK);
  EXPECT_EQ(Make("{}", "demo", 2).code, GANTRY_INVALID_ARGUMENT);
}

TEST_F(Memory, RefusesAHostWithoutWhatItNeeds) {
  host_.has_kv = false;
  EXPECT_EQ(Make("{}").code, GANTRY_FAILED_PRECONDITION);
  host_.has_kv = true;
  host_.ShrinkCallTable(offsetof(gantry_call_api, emit_source));
  EXPECT_EQ(Make("{}").code, GANTRY_FAILED_PRECONDITION);
}

TEST_F(Memory, RefusesAHostThatIsTooOld) {
  const char* why = nullptr;
  EXPECT_EQ(gantry_plugin_entry_v0(0, &why), nullptr);
  ASSERT_NE(why, nullptr);
  EXPECT_NE(gantry_plugin_entry_v0(1000, &why), nullptr);
}

TEST_F(Memory, OffersNoMoreThanItDoes) {
  EXPECT_EQ(controller()->flags, 0u);
  EXPECT_EQ(controller()->modify_volume, nullptr);
  EXPECT_EQ(controller()->domain, nullptr);
  EXPECT_EQ(node()->detach, nullptr);
  EXPECT_EQ(node()->rescan, nullptr);
  for (const char* id : {GANTRY_EXT_PUBLISH, GANTRY_EXT_SNAPSHOT, GANTRY_EXT_GROUP,
                         GANTRY_EXT_METADATA, GANTRY_EXT_DATAPATH, GANTRY_EXT_TASK, "", "gantry"})
    EXPECT_EQ(plugin_->extension(instance_, id), nullptr) << id;
}

}  // namespace
}  // namespace gantry::example

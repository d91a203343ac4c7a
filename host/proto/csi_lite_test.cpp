// SPDX-License-Identifier: Apache-2.0
// The worker's lite copy of csi.proto must be the same on the wire. Two proofs, because each has a
// gap: bytes that come back equal could have passed as unknown fields, and equal descriptors say
// nothing about the code the worker runs.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/timestamp.pb.h>
#include <google/protobuf/wrappers.pb.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "csi/v1/csi.pb.h"
#include "host/base/file.hpp"
#include "host/base/process.hpp"
#include "host/base/temp_dir.hpp"
#include "host/proto/descriptor_lines.hpp"

namespace gantry::proto {
namespace {

namespace pb = google::protobuf;

constexpr size_t kFileBytesMax = 256 << 20;
constexpr std::chrono::seconds kEchoMax{60};

std::string Replaced(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
  return text;
}

// The descriptor lines of the lite copy, in the names of the original.
Lines LiteLines() {
  const auto bytes = base::ReadFile(GANTRY_CSI_LITE_DESCRIPTOR, kFileBytesMax);
  pb::FileDescriptorSet set;
  if (!bytes || !set.ParseFromString(*bytes) || set.file_size() != 1) return {};
  pb::DescriptorPool pool;
  const auto* file = pool.BuildFile(set.file(0));
  if (file == nullptr) return {};
  Lines lines;
  for (std::string line : LinesOf(*file, Detail::kWire)) {
    for (const char* type : {"Timestamp", "BoolValue", "Int64Value"}) {
      line = Replaced(line, std::string("gantry.lite.csi.v1.") + type,
                      std::string("google.protobuf.") + type);
    }
    lines.insert(Replaced(line, "gantry.lite.csi.v1.", "csi.v1."));
  }
  return lines;
}

TEST(CsiLite, DeclaresTheSameFieldsAsTheOriginal) {
  Lines want = LinesOf(*csi::v1::Volume::descriptor()->file(), Detail::kWire);
  want.merge(LinesOf(*pb::Timestamp::descriptor(), Detail::kWire));
  want.merge(LinesOf(*pb::BoolValue::descriptor(), Detail::kWire));
  want.merge(LinesOf(*pb::Int64Value::descriptor(), Detail::kWire));
  EXPECT_THAT(Differences(want, LiteLines()), testing::IsEmpty());
}

// Fills every field there is. Of a oneof only one member can be set, so `variant` chooses it, and
// with it the values of enums. Maps get one entry: the order of more is not defined.
class Filler {
 public:
  explicit Filler(int variant) : variant_(variant) {}

  void Fill(pb::Message& message) {
    const auto& descriptor = *message.GetDescriptor();
    for (int i = 0; i < descriptor.field_count(); ++i) {
      const auto& field = *descriptor.field(i);
      const auto* oneof = field.containing_oneof();
      if (oneof != nullptr && field.index_in_oneof() != variant_ % oneof->field_count()) continue;
      const int count = field.is_map() ? 1 : field.is_repeated() ? 2 : 0;
      if (count == 0) Set(message, field);
      for (int n = 0; n < count; ++n) Add(message, field);
    }
  }

 private:
  using Field = pb::FieldDescriptor;

  void Set(pb::Message& message, const Field& field) {
    const auto& reflection = *message.GetReflection();
    switch (field.cpp_type()) {
      case Field::CPPTYPE_INT32:
        return reflection.SetInt32(&message, &field, static_cast<int32_t>(Number()));
      case Field::CPPTYPE_INT64:
        return reflection.SetInt64(&message, &field, Number());
      case Field::CPPTYPE_BOOL:
        return reflection.SetBool(&message, &field, true);
      case Field::CPPTYPE_ENUM:
        return reflection.SetEnumValue(&message, &field, EnumNumber(*field.enum_type()));
      case Field::CPPTYPE_STRING:
        return reflection.SetString(&message, &field, Text());
      case Field::CPPTYPE_MESSAGE:
        return Fill(*reflection.MutableMessage(&message, &field));
      default:
        ADD_FAILURE() << field.full_name()
                      << " has a type this test cannot fill: " << field.type_name();
    }
  }

  void Add(pb::Message& message, const Field& field) {
    const auto& reflection = *message.GetReflection();
    switch (field.cpp_type()) {
      case Field::CPPTYPE_STRING:
        return reflection.AddString(&message, &field, Text());
      case Field::CPPTYPE_MESSAGE:
        return Fill(*reflection.AddMessage(&message, &field));
      default:
        ADD_FAILURE() << field.full_name()
                      << " repeats a type this test cannot fill: " << field.type_name();
    }
  }

  // Small, negative and large in turn, so that every length of varint occurs; never 0.
  int64_t Number() {
    ++counter_;
    if (counter_ % 3 == 1) return counter_;
    if (counter_ % 3 == 2) return -counter_;
    return std::numeric_limits<int64_t>::max() - counter_;
  }
  std::string Text() { return "t\u00e4xt \U0001f5c4 " + std::to_string(++counter_); }
  // Each declared value but 0, and one that only a newer peer would know.
  int EnumNumber(const pb::EnumDescriptor& type) const {
    const int index = 1 + variant_ % type.value_count();
    return index < type.value_count() ? type.value(index)->number() : 1000;
  }

  int variant_;
  int64_t counter_ = 0;
};

constexpr int kVariants = 16;  // the largest enum has 16 values, the largest oneof 2 members

using Record = std::pair<std::string, std::string>;  // message name, bytes

std::vector<Record> FilledMessages() {
  std::vector<Record> records;
  const auto& file = *csi::v1::Volume::descriptor()->file();
  auto& factory = *pb::MessageFactory::generated_factory();
  for (int i = 0; i < file.message_type_count(); ++i) {
    const auto* type = file.message_type(i);
    for (int variant = 0; variant < kVariants; ++variant) {
      const std::unique_ptr<pb::Message> message(factory.GetPrototype(type)->New());
      Filler(variant).Fill(*message);
      records.emplace_back(type->full_name(), message->SerializeAsString());
    }
  }
  return records;
}

void AppendText(std::string& to, const std::string& text) {
  const auto length = static_cast<uint32_t>(text.size());
  to.append(reinterpret_cast<const char*>(&length), sizeof length).append(text);
}

std::string Pack(const std::vector<Record>& records) {
  std::string packed;
  for (const auto& [name, bytes] : records) {
    AppendText(packed, name);
    AppendText(packed, bytes);
  }
  return packed;
}

std::vector<Record> Unpack(std::string_view packed) {
  std::vector<Record> records;
  const auto take = [&packed] {
    uint32_t length = 0;
    if (packed.size() < sizeof length) return std::string();
    std::memcpy(&length, packed.data(), sizeof length);
    packed.remove_prefix(sizeof length);
    const std::string text(packed.substr(0, length));
    packed.remove_prefix(text.size());
    return text;
  };
  while (!packed.empty()) {
    std::string name = take();
    records.emplace_back(std::move(name), take());
  }
  return records;
}

// What csi_lite_echo makes of the records.
base::Result<std::vector<Record>> EchoedByLite(const std::vector<Record>& records) {
  const base::TempDir directory;
  const auto in_path = directory.path() / "in";
  const auto out_path = directory.path() / "out";
  GANTRY_TRY(base::WriteFileDurably(in_path, Pack(records), 0600));
  const base::UniqueFd in(open(in_path.c_str(), O_RDONLY | O_CLOEXEC));
  const base::UniqueFd out(open(out_path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  if (!in || !out) return base::FailErrno(errno, "open in " + directory.path().string());
  GANTRY_TRY_ASSIGN(const auto binary, base::PinnedBinary::Open(GANTRY_CSI_LITE_ECHO));
  base::SpawnOptions options;
  options.arguments = {"csi_lite_echo"};
  options.pass_fds = {in.get()};
  options.stdout_fd = out.get();
  GANTRY_TRY_ASSIGN(auto child, base::Spawn(binary, options));
  GANTRY_TRY_ASSIGN(const auto status, child.Wait(kEchoMax));
  if (!status) return base::Fail(base::Code::kDeadlineExceeded, "csi_lite_echo does not end");
  if (status->code != 0 || status->signal != 0) {
    return base::Fail(base::Code::kInternal, "csi_lite_echo " + status->Describe());
  }
  GANTRY_TRY_ASSIGN(const auto packed, base::ReadFile(out_path, kFileBytesMax));
  return Unpack(packed);
}

TEST(CsiLite, WritesTheBytesItReads) {
  const auto sent = FilledMessages();
  const auto echoed = EchoedByLite(sent);
  ASSERT_TRUE(echoed.has_value()) << echoed.error().message;
  ASSERT_EQ(echoed->size(), sent.size());
  for (size_t i = 0; i < sent.size(); ++i) {
    ASSERT_EQ((*echoed)[i].first, sent[i].first);
    EXPECT_TRUE((*echoed)[i].second == sent[i].second)
        << sent[i].first << ", variant " << i % kVariants << ": sent "
        << testing::PrintToString(sent[i].second) << ", came back "
        << testing::PrintToString((*echoed)[i].second);
  }
}

// A field that no filled message contains would not have been tested.
void RemoveFilled(const pb::Message& message, Lines& unseen) {
  std::vector<const pb::FieldDescriptor*> fields;
  const auto& reflection = *message.GetReflection();
  reflection.ListFields(message, &fields);
  for (const auto* field : fields) {
    unseen.erase(field->full_name());
    if (field->cpp_type() != pb::FieldDescriptor::CPPTYPE_MESSAGE || field->is_map()) continue;
    if (!field->is_repeated()) {
      RemoveFilled(reflection.GetMessage(message, field), unseen);
      continue;
    }
    for (int n = 0; n < reflection.FieldSize(message, field); ++n) {
      RemoveFilled(reflection.GetRepeatedMessage(message, field, n), unseen);
    }
  }
}

TEST(CsiLite, IsSentEveryFieldThereIs) {
  Lines unseen;
  for (const auto& line : LinesOf(*csi::v1::Volume::descriptor()->file(), Detail::kWire)) {
    if (line.starts_with("field ")) unseen.insert(line.substr(6, line.find(' ', 6) - 6));
  }
  ASSERT_FALSE(unseen.empty());
  auto& factory = *pb::MessageFactory::generated_factory();
  const auto& pool = *pb::DescriptorPool::generated_pool();
  for (const auto& [name, bytes] : FilledMessages()) {
    const std::unique_ptr<pb::Message> message(
        factory.GetPrototype(pool.FindMessageTypeByName(name))->New());
    ASSERT_TRUE(message->ParseFromString(bytes)) << name;
    RemoveFilled(*message, unseen);
  }
  EXPECT_THAT(unseen, testing::IsEmpty());
}

TEST(CsiLite, NeedsNoSharedProtobufAndNoGrpc) {
  const auto program = base::ReadFile(GANTRY_CSI_LITE_ECHO, kFileBytesMax);
  ASSERT_TRUE(program.has_value()) << program.error().message;
  for (const char* library : {"libprotobuf.so", "libprotobuf-lite.so", "libgrpc"}) {
    EXPECT_EQ(program->find(library), std::string::npos) << library;
  }
}

}  // namespace
}  // namespace gantry::proto

// SPDX-License-Identifier: Apache-2.0
// Records in omap. Rejected: files on CephFS itself, whose calls cannot be given a deadline
// (libcephfs waits for an MDS that hangs) and whose compare-and-swap takes three of them; one object
// for each record, because listing them means listing the pool.
#include <rados/librados.h>

#include <array>
#include <cerrno>

#include "plugins/cephfs/cluster/ceph_error.hpp"
#include "plugins/cephfs/cluster/cluster.hpp"

namespace gantry::cephfs {
namespace {

using plugin::Result;

// A pool that is full holds writes back until it is not, without this. With it they end at once: what
// changes keys of an object that is there is done, so that a volume can be deleted, the rest is ENOSPC.
constexpr int kAlsoWhenFull = LIBRADOS_OPERATION_FULL_TRY;

struct ReadOp {
  rados_read_op_t op = rados_create_read_op();
  ReadOp() = default;
  ReadOp(const ReadOp&) = delete;
  ReadOp& operator=(const ReadOp&) = delete;
  ~ReadOp() { rados_release_read_op(op); }
};

struct WriteOp {
  rados_write_op_t op = rados_create_write_op();
  WriteOp() = default;
  WriteOp(const WriteOp&) = delete;
  WriteOp& operator=(const WriteOp&) = delete;
  ~WriteOp() { rados_release_write_op(op); }
};

// There from the moment that the operation is told of it, whatever becomes of that.
struct Iterator {
  rados_omap_iter_t at = nullptr;
  Iterator() = default;
  Iterator(const Iterator&) = delete;
  Iterator& operator=(const Iterator&) = delete;
  ~Iterator() {
    if (at != nullptr) rados_omap_get_end(at);
  }
};

using Entries = std::vector<std::pair<std::string, std::string>>;

int TakeEntries(const Iterator& iterator, Entries* entries) {
  char* key = nullptr;
  char* value = nullptr;
  size_t key_length = 0;
  size_t value_length = 0;
  int number = 0;
  while ((number = rados_omap_get_next2(iterator.at, &key, &value, &key_length, &value_length)) ==
             0 &&
         key != nullptr)
    entries->emplace_back(std::string(key, key_length), std::string(value, value_length));
  return number;
}

int ReadValue(void* pool, const std::string& object, const std::string& key,
              std::optional<std::string>* value) {
  Iterator iterator;  // outlives the operation
  const ReadOp read;
  const char* keys[] = {key.data()};
  const size_t lengths[] = {key.size()};
  int number = 0;
  rados_read_op_omap_get_vals_by_keys2(read.op, keys, 1, lengths, &iterator.at, &number);
  const int operated = rados_read_op_operate(read.op, pool, object.c_str(), 0);
  if (operated != 0) return operated;
  if (number != 0) return number;
  Entries entries;
  if (const int taken = TakeEntries(iterator, &entries); taken != 0) return taken;
  if (!entries.empty()) *value = std::move(entries.front().second);
  return 0;
}

int SwapValue(void* pool, const std::string& object, const std::string& key,
              const std::string& expected, const std::string& value) {
  const WriteOp write;
  int compared = 0;
  rados_write_op_omap_cmp2(write.op, key.data(), LIBRADOS_CMPXATTR_OP_EQ, expected.data(),
                           key.size(), expected.size(), &compared);
  const char* keys[] = {key.data()};
  const char* values[] = {value.data()};
  const size_t key_lengths[] = {key.size()};
  const size_t value_lengths[] = {value.size()};
  if (value.empty()) {
    rados_write_op_omap_rm_keys2(write.op, keys, key_lengths, 1);
  } else {
    rados_write_op_omap_set2(write.op, keys, values, key_lengths, value_lengths, 1);
  }
  return rados_write_op_operate(write.op, pool, object.c_str(), nullptr, kAlsoWhenFull);
}

int MakeObject(void* pool, const std::string& object) {
  const WriteOp write;
  rados_write_op_create(write.op, LIBRADOS_CREATE_IDEMPOTENT, nullptr);
  return rados_write_op_operate(write.op, pool, object.c_str(), nullptr, kAlsoWhenFull);
}

tl::unexpected<plugin::Error> Failed(int number, const char* what) {
  return tl::unexpected(FromErrno(number, std::string(what) + " a record"));
}

}  // namespace

Result<std::optional<std::string>> Cluster::Read(const std::string& object, const std::string& key,
                                                 TimePoint deadline) {
  const auto value = std::make_shared<std::optional<std::string>>();
  GANTRY_PLUGIN_TRY_ASSIGN(const int number, Operate(deadline, [=](void* pool) {
                             return ReadValue(pool, object, key, value.get());
                           }));
  if (number != 0 && number != ENOENT) return Failed(number, "reading");
  return *value;
}

Result<bool> Cluster::Swap(const std::string& object, const std::string& key,
                           const std::string& expected, const std::string& value,
                           TimePoint deadline) {
  const auto operated = Operate(deadline, [=](void* pool) {
    const int swapped = SwapValue(pool, object, key, expected, value);
    if (swapped != -ENOENT) return swapped;
    // The first of all records.
    const int made = MakeObject(pool, object);
    return made != 0 ? made : SwapValue(pool, object, key, expected, value);
  });
  if (operated && *operated == 0) return true;
  if (operated && *operated == ECANCELED) return false;
  if (operated && *operated != ETIMEDOUT) return Failed(*operated, "writing");
  // It may have happened.
  GANTRY_PLUGIN_TRY_ASSIGN(const auto found, Read(object, key, deadline));
  if (found.value_or("") == value) return true;
  if (found.value_or("") != expected) return false;
  return Failed(ETIMEDOUT, "writing");
}

void Cluster::RemoveLater(const std::string& object, const std::string& key,
                          const std::string& expected) {
  OperateLater([=](void* pool) { return SwapValue(pool, object, key, expected, {}); });
}

Result<Entries> Cluster::Page(const std::string& object, const std::string& after,
                              size_t entries_max, TimePoint deadline) {
  const auto entries = std::make_shared<Entries>();
  GANTRY_PLUGIN_TRY_ASSIGN(const int number, Operate(deadline, [=](void* pool) {
                             Iterator iterator;
                             const ReadOp read;
                             unsigned char more = 0;
                             int got = 0;
                             rados_read_op_omap_get_vals2(read.op, after.c_str(), "", entries_max,
                                                          &iterator.at, &more, &got);
                             const int operated =
                                 rados_read_op_operate(read.op, pool, object.c_str(), 0);
                             if (operated != 0) return operated;
                             if (got != 0) return got;
                             return TakeEntries(iterator, entries.get());
                           }));
  if (number != 0 && number != ENOENT) return Failed(number, "listing");
  return *entries;
}

}  // namespace gantry::cephfs

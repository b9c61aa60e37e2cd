#include "engine/host_page.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <thread>

namespace gannet::engine {
namespace {

const IpAddress neighbor = IpAddress::ipv4(192, 0, 2, 9);
const IpAddress far_away = IpAddress::ipv4(198, 51, 100, 1);

struct HostPageTest : testing::Test {
  FramePools pools = FramePools::create(64, 2).value();
  Rng rng{1};
  stack::Stack stack{pools, rng};
  std::unique_ptr<HostPage> page = HostPage::create().value();
  HostView view{*page};

  std::uint32_t add_interface() {
    const std::uint32_t index = stack.add_interface({.name = "wire", .mac = {}, .mtu = 1500}).value();
    EXPECT_TRUE(stack.add_address(index, IpAddress::ipv4(192, 0, 2, 1), 24, Time{}).has_value());
    return index;
  }
  [[nodiscard]] int check(const IpAddress& dst, std::size_t size = 10, SendCheck send = {}) const {
    send.to = {dst, 7};
    send.payload_size = size;
    return check_send(view, send).error().code;
  }
};

TEST_F(HostPageTest, SaysNothingUntilItIsPublished) {
  EXPECT_FALSE(view.find(neighbor, 0).has_value());
  EXPECT_EQ(check(neighbor), 0);
  EXPECT_EQ(check(neighbor, 65508), EMSGSIZE);
}

TEST_F(HostPageTest, IsPublishedWhenTheHostChanged) {
  EXPECT_TRUE(page->publish(stack));
  EXPECT_FALSE(page->publish(stack));
  EXPECT_EQ(check(neighbor), ENETUNREACH);
  EXPECT_EQ(check(IpAddress::ipv4(127, 0, 0, 1)), 0);
  EXPECT_EQ(check(IpAddress::ipv4(127, 1, 2, 3)), 0);
  const std::uint32_t index = add_interface();
  EXPECT_TRUE(page->publish(stack));
  EXPECT_EQ(view.generation(), stack.generation());
  EXPECT_EQ(check(neighbor), 0);
  EXPECT_EQ(check(far_away), ENETUNREACH);
  ASSERT_TRUE(stack.add_route({.network = IpAddress::any(Family::ipv4), .prefix = 0, .gateway = neighbor, .interface = index}).has_value());
  ASSERT_TRUE(page->publish(stack));
  EXPECT_EQ(check(far_away), 0);
  ASSERT_TRUE(stack.set_up(index, false, Time{}).has_value());
  ASSERT_TRUE(page->publish(stack));
  EXPECT_EQ(check(far_away), ENETUNREACH);
}

TEST_F(HostPageTest, ChecksAsLinuxDoes) {
  const std::uint32_t index = add_interface();
  page->publish(stack);
  EXPECT_EQ(check_send(view, {.to = {neighbor, 0}}).error().code, EINVAL);
  EXPECT_EQ(check(IpAddress::ipv4(192, 0, 2, 255)), EACCES);
  EXPECT_EQ(check(IpAddress::ipv4(255, 255, 255, 255)), EACCES);
  EXPECT_EQ(check(IpAddress::ipv4(255, 255, 255, 255), 10, {.to = {}, .broadcast = true}), 0);
  EXPECT_EQ(check(IpAddress::ipv4(239, 1, 1, 1)), 0);
  EXPECT_EQ(check(neighbor, 65507), 0) << "it will be fragmented";
  EXPECT_EQ(check(neighbor, 1472, {.to = {}, .fragmentation = stack::Fragmentation::refuse}), 0);
  EXPECT_EQ(check(neighbor, 1473, {.to = {}, .fragmentation = stack::Fragmentation::refuse}), EMSGSIZE);
  EXPECT_EQ(check(neighbor, 1469, {.to = {}, .ip_options_size = 4, .fragmentation = stack::Fragmentation::refuse}), EMSGSIZE);
  EXPECT_EQ(check(neighbor, 10000, {.to = {}, .segment_size = 1472}), 0);
  EXPECT_EQ(check(neighbor, 10000, {.to = {}, .segment_size = 1473}), EMSGSIZE);
  EXPECT_EQ(check(IpAddress::ipv4(192, 0, 2, 1), 60000, {.to = {}, .fragmentation = stack::Fragmentation::refuse}), 0) << "to ourselves, by lo";
  EXPECT_EQ(check(neighbor, 10, {.to = {}, .interface = index}), 0);
  EXPECT_EQ(check(neighbor, 10, {.to = {}, .interface = index + 1}), ENETUNREACH);
}

// The page and the host decide alike, for every destination of a sample.
TEST_F(HostPageTest, AgreesWithTheHost) {
  const std::uint32_t index = add_interface();
  ASSERT_TRUE(stack.add_route({.network = IpAddress::ipv4(198, 51, 100, 0), .prefix = 24, .gateway = neighbor, .interface = index}).has_value());
  page->publish(stack);
  for (const std::uint32_t number : {0x7f000001u, 0x7fabcdefu, 0xc0000201u, 0xc0000200u, 0xc00002ffu, 0xc0000209u, 0xc6336400u, 0xc63364ffu,
                                     0xcb007101u, 0xffffffffu, 0xe0000001u, 0xefffffffu, 0x0a000001u}) {
    const IpAddress dst = IpAddress::ipv4(number);
    const auto told = view.find(dst, 0);
    const auto path = stack.ip().find_path(dst, IpAddress::any(Family::ipv4), 0);
    ASSERT_TRUE(told.has_value());
    EXPECT_EQ(told->reachable, path.has_value()) << dst.to_string();
    if (path) {
      EXPECT_EQ(told->kind, path->kind) << dst.to_string();
      EXPECT_EQ(told->mtu, path->interface_mtu) << dst.to_string();
    }
  }
}

// While the engine publishes, each reader sees one state or the other, never a mixture.
TEST_F(HostPageTest, ReadersSeeWholePages) {
  const std::uint32_t index = add_interface();
  const stack::Route route{.network = IpAddress::ipv4(198, 51, 100, 0), .prefix = 24, .gateway = neighbor, .interface = index};
  page->publish(stack);
  std::atomic<bool> stop = false;
  std::atomic<int> wrong = 0, seen = 0;
  std::thread reader([&] {
    while (!stop || seen == 0) {
      const auto own = view.find(neighbor, 0);
      const auto far = view.find(far_away, 0);
      if (own) wrong += !own->reachable || own->mtu != 1500;
      if (far && far->reachable) wrong += far->mtu != 1500;
      seen += far.has_value();
    }
  });
  for (int i = 0; i < 2000; ++i) {
    if (i % 2 == 0)
      ASSERT_TRUE(stack.add_route(route).has_value());
    else
      ASSERT_TRUE(stack.remove_route(route).has_value());
    ASSERT_TRUE(page->publish(stack));
  }
  stop = true;
  reader.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace gannet::engine

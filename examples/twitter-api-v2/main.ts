// twitter-api-v2 through Gatehouse. The library keeps X's host in constants, so a
// small plugin changes the host of each request; nothing else differs.
//
// Environment: GATEHOUSE_URL, X_HANDLE, X_OAUTH1 (the JSON object that
// `gatehouse demo --json` prints as x_oauth1), and NODE_EXTRA_CA_CERTS.
import { TwitterApi, type ITwitterApiClientPlugin } from 'twitter-api-v2';

function need(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`set ${name} (gatehouse demo prints it)`);
  return value;
}

const gatehouse = new URL(need('GATEHOUSE_URL'));

// The library reads the path to decide how to encode a body, so the host is
// replaced and the path stays /2/…: Gatehouse knows the platform by the handle.
const throughGatehouse: ITwitterApiClientPlugin = {
  onBeforeRequestConfig({ url, params }) {
    url.protocol = gatehouse.protocol;
    url.host = gatehouse.host;
    params.url = url.toString();
  },
};

// 1. OAuth 2.0: the handle stands where the user's access token stood.
const user = new TwitterApi(need('X_HANDLE'), { plugins: [throughGatehouse] });
const me = await user.v2.me({ 'user.fields': ['username'] });
console.log(`me: @${me.data.username}`);

const text = `twitter-api-v2 through Gatehouse ${new Date().toISOString()}`;
const post = await user.v2.tweet(text);
console.log(`post: ${post.data.id}`);

const found = await user.v2.search('gatehouse', { max_results: 10 });
if (!found.tweets.some((t) => t.id === post.data.id)) throw new Error('search does not find what was just posted');
console.log(`search: ${found.tweets.length} found`);

const first = await user.v2.followers(me.data.id, { max_results: 20, asPaginator: true });
const before = first.users.length;
await first.fetchNext();
if (first.users.length <= before) throw new Error('the followers did not page');
console.log(`followers: ${first.users.length} on 2 pages`);

// 2. OAuth 1.0a: four derived values in place of the four real ones. The library
// signs for Gatehouse's address; Gatehouse checks that and signs for X's.
const set = JSON.parse(need('X_OAUTH1')) as Record<'consumer_key' | 'consumer_secret' | 'token' | 'token_secret', string>;
const signed = new TwitterApi(
  { appKey: set.consumer_key, appSecret: set.consumer_secret, accessToken: set.token, accessSecret: set.token_secret },
  { plugins: [throughGatehouse] },
);
const again = await signed.v2.me();
if (again.data.id !== me.data.id) throw new Error('OAuth 1.0a speaks for somebody else');
console.log(`oauth1: @${again.data.username}`);

// 3. Logout: the library's own call, answered by Gatehouse, which revokes the
// grant at X. Only when asked for, because the handle is worthless afterwards.
if (process.env.LOGOUT === '1') {
  const app = new TwitterApi({ clientId: 'gatehouse' }, { plugins: [throughGatehouse] });
  await app.revokeOAuth2Token(need('X_HANDLE'), 'access_token');
  const refused = await user.v2.me().then(() => false, (error: { code?: number }) => error.code === 401);
  if (!refused) throw new Error('the handle still works after logout');
  console.log('logout: revoked');
}

// X's own TypeScript SDK through Gatehouse: swap the base URL and the token.
//
// Environment: GATEHOUSE_URL (the app listener), X_HANDLE (a handle), and
// NODE_EXTRA_CA_CERTS (the local CA's file, so that Node trusts the listener).
import { Client, UserPaginator } from '@xdevplatform/xdk';

function need(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`set ${name} (gatehouse demo prints it)`);
  return value;
}

const client = new Client({
  baseUrl: `${need('GATEHOUSE_URL')}/x`, // was https://api.x.com
  accessToken: need('X_HANDLE'), // was the user's token
});

const me = await client.users.getMe({ userFields: ['username', 'name'] });
if (!me.data) throw new Error('no user in the reply');
console.log(`me: @${me.data.username}`);

const text = `Posted through Gatehouse at ${new Date().toISOString()} ✨`;
const post = await client.posts.create({ text });
if (!post.data?.id) throw new Error('the post has no id');
console.log(`post: ${post.data.id}`);

const found = await client.posts.searchRecent('gatehouse', { maxResults: 10 });
const texts = (found.data ?? []).map((p) => p.text);
if (!texts.includes(text)) throw new Error('search does not find what was just posted');
console.log(`search: ${texts.length} found`);

const followers = new UserPaginator(async (token?: string) => {
  const page = await client.users.getFollowers(me.data!.id!, { maxResults: 20, paginationToken: token });
  return { data: page.data ?? [], meta: page.meta, includes: page.includes, errors: page.errors };
});
await followers.fetchNext();
let pages = 1;
while (!followers.done && pages < 4) {
  await followers.fetchNext();
  pages++;
}
if (pages < 2) throw new Error('the followers did not page');
console.log(`followers: ${followers.users.length} on ${pages} pages`);

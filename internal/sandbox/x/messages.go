package x

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// message is one event of a direct-message conversation.
type message struct {
	id      string
	talk    *conversation
	sender  *user
	text    string
	media   []*media
	created time.Time
	// deletedFor hides the message from some of the participants.
	deletedFor ordered
}

// conversation is between two people or in a group.
type conversation struct {
	id           string
	participants []*user
	messages     []*message // oldest first
}

const (
	readMessages  = "dm.read tweet.read users.read"
	writeMessages = "dm.write tweet.read users.read"
)

var eventPaging = with(eventQuery, "max_results", "pagination_token", "event_types")

var messageOperations = []operation{
	{id: "createDirectMessagesByParticipantId", route: "POST /2/dm_conversations/with/{participant_id}/messages", auth: userAuth, scopes: writeMessages, appLimit: "1440/24h", userLimit: "15/15m 1440/24h", status: http.StatusCreated, handle: (*Platform).messagePerson},
	{id: "createDirectMessagesByConversationId", route: "POST /2/dm_conversations/{dm_conversation_id}/messages", auth: userAuth, scopes: writeMessages, appLimit: "1440/24h", userLimit: "15/15m 1440/24h", status: http.StatusCreated, handle: (*Platform).messageConversation},
	{id: "createDirectMessagesConversation", route: "POST /2/dm_conversations", auth: userAuth, scopes: writeMessages, appLimit: "1440/24h", userLimit: "15/15m 1440/24h", status: http.StatusCreated, handle: (*Platform).startGroup},
	{id: "getDirectMessagesEvents", route: "GET /2/dm_events", auth: userAuth, scopes: readMessages, userLimit: "15/15m", query: eventPaging, handle: (*Platform).allEvents},
	{id: "getDirectMessagesEventsById", route: "GET /2/dm_events/{event_id}", auth: userAuth, scopes: readMessages, userLimit: "15/15m", query: eventQuery, handle: (*Platform).eventByID},
	{id: "deleteDirectMessagesEvents", route: "DELETE /2/dm_events/{event_id}", auth: userAuth, scopes: "dm.read dm.write", appLimit: "4000/24h", userLimit: "300/15m 1500/24h", handle: (*Platform).deleteEvent},
	{id: "getDirectMessagesEventsByParticipantId", route: "GET /2/dm_conversations/with/{participant_id}/dm_events", auth: userAuth, scopes: readMessages, userLimit: "15/15m", query: eventPaging, handle: (*Platform).eventsWith},
	{id: "getDirectMessagesEventsByConversationId", route: "GET /2/dm_conversations/{id}/dm_events", auth: userAuth, scopes: readMessages, userLimit: "15/15m", query: eventPaging, handle: (*Platform).eventsOf},
}

// newMessage is the body of a message.
type newMessage struct {
	Text        string `json:"text"`
	Attachments []struct {
		Media string `json:"media_id"`
	} `json:"attachments"`
}

// pairID is the identifier of the conversation of two people.
func pairID(a, b *user) string {
	ids := []string{a.id, b.id}
	slices.SortFunc(ids, func(a, b string) int {
		if olderID(a, b) {
			return -1
		}
		return 1
	})
	return strings.Join(ids, "-")
}

// talk finds the conversation of two people; it begins with the first message.
func (p *Platform) talk(a, b *user) *conversation {
	id := pairID(a, b)
	t := p.state.talks[id]
	if t == nil {
		t = &conversation{id: id, participants: []*user{a, b}}
		p.state.talks[id] = t
	}
	return t
}

// post adds a message to a conversation and tells the webhooks.
func (p *Platform) postMessage(c *call, t *conversation, body newMessage) (any, error) {
	if body.Text == "" && len(body.Attachments) == 0 {
		return nil, invalidRequest("", "", "$.text: is missing but it is required")
	}
	m := &message{id: p.state.nextID(p.now()), talk: t, sender: c.who.user, text: body.Text, created: p.now()}
	for _, attachment := range body.Attachments {
		file := p.state.media[attachment.Media]
		if file == nil || file.owner != c.who.user || file.status != "succeeded" {
			return nil, invalidRequest("", "", "Your media IDs are invalid.")
		}
		m.media = append(m.media, file)
	}
	t.messages = append(t.messages, m)
	p.state.messages[m.id] = m
	s := selection{event: []string{"created_at", "dm_conversation_id", "event_type", "id", "sender_id", "text"}}
	payload := p.renderMessage(m, c, &s, &includes{})
	for _, u := range t.participants {
		if u == m.sender {
			p.announce("dm.sent", u, payload)
		} else {
			p.announce("dm.received", u, payload)
		}
	}
	return reply(map[string]any{"dm_conversation_id": t.id, "dm_event_id": m.id}, nil, nil, nil), nil
}

func (p *Platform) messagePerson(c *call) (any, error) {
	var body newMessage
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	other, err := p.targetUser("participant_id", c.path["participant_id"])
	if err != nil {
		return nil, err
	}
	if other.dmBlocked.contains(c.who.user.id) || other == c.who.user {
		return nil, forbidden("You do not have permission to DM one or more participants.")
	}
	return p.postMessage(c, p.talk(c.who.user, other), body)
}

// myTalk finds a conversation that the caller takes part in.
func (p *Platform) myTalk(c *call, id string) (*conversation, error) {
	t := p.state.talks[id]
	if t == nil || !slices.Contains(t.participants, c.who.user) {
		return nil, forbidden("You are not allowed to access this conversation.")
	}
	return t, nil
}

func (p *Platform) messageConversation(c *call) (any, error) {
	var body newMessage
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	t, err := p.myTalk(c, c.path["dm_conversation_id"])
	if err != nil {
		return nil, err
	}
	return p.postMessage(c, t, body)
}

func (p *Platform) startGroup(c *call) (any, error) {
	var body struct {
		Type         string     `json:"conversation_type"`
		Participants []string   `json:"participant_ids"`
		Message      newMessage `json:"message"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.Type != "Group" {
		return nil, invalidRequest("", "", "$.conversation_type: does not have a value in the enumeration [Group]")
	}
	if len(body.Participants) < 2 || len(body.Participants) > 49 {
		return nil, invalidRequest("", "", "$.participant_ids: must have between 2 and 49 items")
	}
	t := &conversation{id: p.state.nextID(p.now()), participants: []*user{c.who.user}}
	for _, id := range body.Participants {
		u, err := p.targetUser("participant_ids", id)
		if err != nil {
			return nil, err
		}
		if u.dmBlocked.contains(c.who.user.id) {
			return nil, forbidden("You do not have permission to DM one or more participants.")
		}
		if !slices.Contains(t.participants, u) {
			t.participants = append(t.participants, u)
		}
	}
	answer, err := p.postMessage(c, t, body.Message)
	if err == nil {
		p.state.talks[t.id] = t
	}
	return answer, err
}

func (p *Platform) renderMessage(m *message, c *call, s *selection, n *includes) map[string]any {
	out := map[string]any{"id": m.id, "event_type": "MessageCreate", "text": m.text}
	ids := make([]string, len(m.talk.participants))
	for i, u := range m.talk.participants {
		ids[i] = u.id
	}
	for _, field := range s.event {
		switch field {
		case "created_at":
			out[field] = timestamp(m.created)
		case "dm_conversation_id":
			out[field] = m.talk.id
		case "sender_id":
			out[field] = m.sender.id
		case "participant_ids":
			out[field] = ids
		case "attachments":
			if len(m.media) > 0 {
				out[field] = (&post{media: m.media}).attachments()
			}
		}
	}
	if s.wants("sender_id") {
		out["sender_id"] = m.sender.id
		p.includeUser(m.sender, c, s, n)
	}
	if s.wants("participant_ids") {
		out["participant_ids"] = ids
		for _, u := range m.talk.participants {
			p.includeUser(u, c, s, n)
		}
	}
	if s.wants("attachments.media_keys") && len(m.media) > 0 {
		out["attachments"] = (&post{media: m.media}).attachments()
		for _, file := range m.media {
			n.media = append(n.media, file.render(s.media))
		}
	}
	return out
}

// eventsReply answers with one page of messages, the newest first.
func (p *Platform) eventsReply(c *call, talks ...*conversation) (any, error) {
	s, err := c.selectFields(eventExpansions)
	if err != nil {
		return nil, err
	}
	if _, err := c.list("event_types", []string{"MessageCreate", "ParticipantsJoin", "ParticipantsLeave"}); err != nil {
		return nil, err
	}
	var all []*message
	for _, t := range talks {
		for _, m := range t.messages {
			if !m.deletedFor.contains(c.who.user.id) {
				all = append(all, m)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b *message) int {
		if olderID(b.id, a.id) {
			return -1
		}
		return 1
	})
	cut, err := paginate(c, paging{1, 100, 100, ""}, all, func(m *message) string { return m.id })
	if err != nil {
		return nil, err
	}
	var n includes
	var data []any
	for _, m := range cut.items {
		data = append(data, p.renderMessage(m, c, &s, &n))
	}
	if data == nil {
		return reply(nil, &n, nil, cut.meta), nil
	}
	return reply(data, &n, nil, cut.meta), nil
}

func (p *Platform) allEvents(c *call) (any, error) {
	var mine []*conversation
	for _, t := range p.state.talks {
		if slices.Contains(t.participants, c.who.user) {
			mine = append(mine, t)
		}
	}
	return p.eventsReply(c, mine...)
}

func (p *Platform) eventsWith(c *call) (any, error) {
	other, err := p.targetUser("participant_id", c.path["participant_id"])
	if err != nil {
		return nil, err
	}
	return p.eventsReply(c, p.talk(c.who.user, other))
}

func (p *Platform) eventsOf(c *call) (any, error) {
	t, err := p.myTalk(c, c.path["id"])
	if err != nil {
		return nil, err
	}
	return p.eventsReply(c, t)
}

// myEvent finds a message that the caller may see.
func (p *Platform) myEvent(c *call) (*message, error) {
	id := c.path["event_id"]
	m := p.state.messages[id]
	if m == nil || !slices.Contains(m.talk.participants, c.who.user) || m.deletedFor.contains(c.who.user.id) {
		return nil, missing("dm_event", "event_id", id)
	}
	return m, nil
}

func (p *Platform) eventByID(c *call) (any, error) {
	s, err := c.selectFields(eventExpansions)
	if err != nil {
		return nil, err
	}
	m, err := p.myEvent(c)
	if err != nil {
		return nil, err
	}
	var n includes
	return reply(p.renderMessage(m, c, &s, &n), &n, nil, nil), nil
}

// deleteEvent hides a message from the caller; the others keep it.
func (p *Platform) deleteEvent(c *call) (any, error) {
	m, err := p.myEvent(c)
	if err != nil {
		return nil, err
	}
	m.deletedFor.add(c.who.user.id)
	return reply(map[string]any{"deleted": true}, nil, nil, nil), nil
}

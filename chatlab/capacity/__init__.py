"""How far the chat goes: the account's quotas, what AWS charges, and a model of the broadcast in large rooms."""

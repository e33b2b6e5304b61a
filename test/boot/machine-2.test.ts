import { describeMachine } from './support/suite.ts';

describeMachine(1, 2);
